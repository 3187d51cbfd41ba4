//! Which rights the operator's role needs, and which of them it lacks.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connect::describe;
use crate::finding::{Finding, Severity};

/// Functions that facts and checks use. Every role may run them unless somebody has revoked it from PUBLIC.
pub(super) const FUNCTIONS: [&str; 15] = [
    "pg_is_in_recovery()",
    "pg_control_system()",
    "pg_control_checkpoint()",
    "pg_walfile_name(pg_lsn)",
    "pg_current_wal_lsn()",
    "pg_current_wal_flush_lsn()",
    "pg_current_wal_insert_lsn()",
    "pg_last_wal_receive_lsn()",
    "pg_last_wal_replay_lsn()",
    "pg_get_wal_replay_pause_state()",
    "pg_current_xact_id()",
    "pg_logical_emit_message(boolean, text, text)",
    "pg_xact_status(xid8)",
    "current_setting(text)",
    "pg_backend_pid()",
];

/// Views that facts and checks use, likewise.
pub(super) const VIEWS: [&str; 6] = [
    "pg_stat_wal_receiver",
    "pg_stat_replication",
    "pg_replication_slots",
    "pg_stat_activity",
    "pg_prepared_xacts",
    "pg_settings",
];

// Names are given as parameters, so that a function that this version does not have is an error here and not later.
const FUNCTION_GRANTS: &str = "SELECT f FROM unnest(string_to_array($1, ';')) f
    WHERE NOT has_function_privilege(f::regprocedure, 'EXECUTE')";
const VIEW_GRANTS: &str = "SELECT v FROM unnest(string_to_array($1, ';')) v
    WHERE NOT has_table_privilege(v::regclass, 'SELECT')";
const ROLE: &str = "SELECT quote_ident(current_user), pg_has_role('pg_read_all_stats', 'USAGE'), rolsuper,
    rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user";

/// A finding for each right that is missing, with the statement that grants it, and for each one that is too much.
pub(super) async fn check(client: &Client) -> Result<Vec<Finding>, String> {
    let (functions, views) = (FUNCTIONS.join(";"), VIEWS.join(";"));
    let (function_args, view_args) = ([(&functions as _, Type::TEXT)], [(&views as _, Type::TEXT)]);
    let (role, functions, views) = tokio::join!(
        client.query_typed_one(ROLE, &[]),
        client.query_typed(FUNCTION_GRANTS, &function_args),
        client.query_typed(VIEW_GRANTS, &view_args),
    );
    let fail = |e: tokio_postgres::Error| describe(&e);
    let role = role.map_err(fail)?;
    let user: String = role.try_get(0).map_err(fail)?;
    let mut findings = Vec::new();
    if !role.try_get::<_, bool>(1).map_err(fail)? {
        findings.push(missing("pg_read_all_stats", &format!("GRANT pg_read_all_stats TO {user};")));
    }
    let attributes = ["SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"];
    for (column, attribute) in (2..).zip(attributes) {
        if role.try_get::<_, bool>(column).map_err(fail)? {
            findings.push(Finding {
                code: "RoleTooStrong",
                severity: Severity::Warn,
                field: format!("role {user}"),
                found: attribute.to_owned(),
                expected: format!("NO{attribute}"),
                hint: format!("ALTER ROLE {user} NO{attribute};"),
            });
        }
    }
    for row in functions.map_err(fail)? {
        let name: String = row.try_get(0).map_err(fail)?;
        let grant = format!("GRANT EXECUTE ON FUNCTION {name} TO {user};");
        findings.push(missing(&format!("EXECUTE ON FUNCTION {name}"), &grant));
    }
    for row in views.map_err(fail)? {
        let name: String = row.try_get(0).map_err(fail)?;
        findings.push(missing(&format!("SELECT ON {name}"), &format!("GRANT SELECT ON {name} TO {user};")));
    }
    Ok(findings)
}

/// A right that the role does not have.
pub(super) fn missing(right: &str, grant: &str) -> Finding {
    Finding {
        code: "MissingGrant",
        severity: Severity::Block,
        field: format!("grant {right}"),
        found: "not granted".to_owned(),
        expected: "granted".to_owned(),
        hint: format!("as a superuser, in this database on the primary: {grant}"),
    }
}
