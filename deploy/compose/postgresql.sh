# The report's role and database; runs once, when the data directory is new.
set -eu
psql --username=postgres --set=ON_ERROR_STOP=1 --set=password="$(cat /run/secrets/role)" <<'SQL'
CREATE ROLE tes_report LOGIN PASSWORD :'password';
ALTER DATABASE tes OWNER TO tes_report;
SQL
