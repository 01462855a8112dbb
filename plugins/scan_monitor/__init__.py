"""Pages inside the Airflow UI: the mirror, the datasets, and the scans while they run and afterwards."""
