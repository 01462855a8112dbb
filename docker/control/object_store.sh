#!/bin/bash
# An S3 API for the buckets (directories) below /srv/store; the keys go in by the environment, as one quoted CSV field.
set -euo pipefail

mkdir -p "/srv/store/$BUCKET"
RCLONE_AUTH_KEY="\"$(cat /run/secrets/key)\""
export RCLONE_AUTH_KEY
exec rclone serve s3 /srv/store --addr=:9000
