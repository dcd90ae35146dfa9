//! What a reload does not apply.

use crate::config::Config;
use crate::serve::connections::files;

/// The sections of a configuration that changed and that a reload does not apply.
pub(super) fn sections_that_need_a_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let rows = [
        ("[server]", old.server.listen.port() != 0 && server_differs(old, new)),
        ("[[model]]", old.models != new.models),
        ("[sessions]", old.sessions != new.sessions),
        ("[audit]", old.audit != new.audit),
    ];
    rows.into_iter().filter(|row| row.1).map(|row| row.0).collect()
}

/// Compares `[server]`. `old` has the ports that the system chose for port 0, and the number of connections that its limit
/// on open files allows.
fn server_differs(old: &Config, new: &Config) -> bool {
    let mut new = new.server.clone();
    new.connections_max = files::room_for(new.connections_max);
    if new.listen.port() == 0 {
        new.listen.set_port(old.server.listen.port());
    }
    if let (Some(new), Some(old)) = (&mut new.admin_listen, old.server.admin_listen)
        && new.port() == 0
    {
        new.set_port(old.port());
    }
    new != old.server
}
