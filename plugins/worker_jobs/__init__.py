"""Work on worker nodes, over Airflow's SSH provider."""
