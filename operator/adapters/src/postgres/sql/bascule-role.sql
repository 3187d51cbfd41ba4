-- The role that Bascule's operator connects with: it reads facts and proves that a commit works. It cannot read or
-- change any table, promote, stop, or reconfigure the server. It is never a superuser.
--
-- Run once on the PRIMARY, in the database that the policy names; the standbys get it by replication:
--   psql -d DATABASE -v ON_ERROR_STOP=1 -v password='...' -f bascule-role.sql
--
-- On a hardened server (rights of PUBLIC revoked), the status of the policy names every further grant that is missing.

CREATE ROLE bascule LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';

-- To connect at all: PUBLIC has it only while nobody has revoked it.
GRANT CONNECT ON DATABASE :"DBNAME" TO bascule;

-- Replication as both sides see it (pg_stat_replication, pg_stat_wal_receiver), and the sessions that are open.
GRANT pg_read_all_stats TO bascule;
