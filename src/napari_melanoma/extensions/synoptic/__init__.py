"""The synoptic report: its forms in the docks, its section of reports, and its exports as JSON, CSV and FHIR."""
