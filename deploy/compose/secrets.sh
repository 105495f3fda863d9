#!/usr/bin/env bash
# Makes the secrets of compose.yaml that nobody has to choose; what is there already stays.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
make() { [ -s "secrets/$1" ] || { printf '%s' "$2" >"secrets/$1" && echo "made secrets/$1"; }; }
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
make superuser "$(random)"
make role "$(random)"
make session-key "$(random)"
make database "postgresql://tes_report:$(cat secrets/role)@postgresql/tes"
[ -s secrets/client-secret ] || echo "put the OpenID Connect client's secret into secrets/client-secret" >&2
# The user of the image reads them: Compose mounts files as they are. Nobody else on this machine gets into the folder.
chmod 0700 secrets
chmod 0644 secrets/*
