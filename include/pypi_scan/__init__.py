"""The library of the control host: mirror, datasets, scan plans, packing, publishing. Imports no Airflow."""
