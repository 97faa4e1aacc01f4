"""The patient data of a photograph that its classifier uses."""
