#!/bin/bash
# What Airflow needs before its services start: its database, who may log in, and the list of workers.
set -euo pipefail

airflow db migrate
# Asked for twice on standard input, as arguments can be read by everybody. A user who is there stays as they are.
password=$(cat /run/secrets/admin_password)
printf '%s\n%s\n' "$password" "$password" | airflow users create --role Admin \
    --username "$_AIRFLOW_WWW_USER_USERNAME" --firstname Admin --lastname Admin --email admin@localhost
airflow variables set pypi_workers "$PYPI_WORKERS"
