"""Reports of photographs, slides and cases, and exports of the results of slides."""
