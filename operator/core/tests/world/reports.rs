//! What guards report.

use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Behind, Cluster, ClusterState, Disk, HighWater, Positions, Report, ServerState, Stopped, UpstreamView,
};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::time::Millis;

use super::record::STOPPED_AT;

fn cluster(state: ClusterState, standby_signal: bool, checkpoint: Lsn) -> Disk {
    Disk::Cluster(Cluster {
        system_id: SystemId(77),
        timeline: Timeline(1),
        state,
        checkpoint,
        standby_signal,
        half_rewound: false,
    })
}

fn report(serial: u64, state: ServerState, disk: Disk) -> Report {
    Report {
        serial,
        locked: None,
        boot: "b1".to_owned(),
        state,
        disk,
        positions: None,
        replicas: Few::new(),
        stopped: None,
        checkpointed: None,
        opened_epoch: None,
        diverged: None,
        contact_lost: None,
        high_water: HighWater { epoch: 1, serial, generation: 0 },
        exited: None,
        sigterm: false,
        fallback: false,
        unlimited: false,
        log_gone: None,
        unlocked: None,
        notes: vec![],
    }
}

/// An open primary, with the other site's replica connected, whichever that is.
pub fn primary(serial: u64) -> Report {
    let mut r = report(
        serial,
        ServerState::Primary { open: true },
        cluster(ClusterState::InProduction, false, Lsn(0x200_0028)),
    );
    r.opened_epoch = Some(1);
    let keeps_up = Behind { bytes: 0, time: Some(Millis(0)) };
    r.replicas = ["bascule_paris", "bascule_lyon"].map(|slot| (slot.to_owned(), keeps_up)).into();
    r.positions = Some(Positions {
        timeline: Some(Timeline(1)),
        flush: Some(Lsn(0x2FF_0000)),
        receive: None,
        replay: None,
        upstream: None,
        age: Millis(50),
    });
    r
}

/// A replica that streams and has everything.
pub fn replica(serial: u64) -> Report {
    let mut r = report(
        serial,
        ServerState::Standby { open: true },
        cluster(ClusterState::InArchiveRecovery, true, Lsn(0x200_0028)),
    );
    r.positions = Some(Positions {
        timeline: Some(Timeline(1)),
        flush: None,
        receive: Some(Lsn(0x2FF_0000)),
        replay: Some(Lsn(0x2FF_0000)),
        upstream: Some(UpstreamView {
            status: "streaming".to_owned(),
            timeline: Some(Timeline(1)),
            reported_end: Some(Lsn(0x2FF_0000)),
            message_age: Some(Millis(100)),
        }),
        age: Millis(50),
    });
    r
}

/// A replica whose primary is gone.
pub fn orphan(serial: u64) -> Report {
    let mut r = replica(serial);
    if let Some(p) = &mut r.positions {
        p.upstream = None;
    }
    r
}

/// A replica that has replayed the shutdown checkpoint of a switchover, closed.
pub fn proof(serial: u64) -> Report {
    let mut r = orphan(serial);
    r.state = ServerState::Standby { open: false };
    if let Some(p) = &mut r.positions {
        p.receive = Some(Lsn(STOPPED_AT.0 + 0x78));
        p.replay = Some(Lsn(STOPPED_AT.0 + 0x78));
    }
    r
}

/// A server that its guard stopped cleanly and locked at `serial`.
pub fn locked(serial: u64) -> Report {
    let mut r = report(serial, ServerState::Down, cluster(ClusterState::ShutDown, false, STOPPED_AT));
    r.locked = Some(serial);
    r.opened_epoch = Some(1);
    r.checkpointed = Some(serial);
    r.stopped = Some(Stopped {
        serial,
        system_id: SystemId(77),
        timeline: Timeline(1),
        checkpoint: STOPPED_AT,
        clean: true,
    });
    r
}

/// A server that died; its guard has locked itself at the serial it knew.
pub fn dead(serial: u64) -> Report {
    let mut r = locked(serial);
    r.disk = cluster(ClusterState::InProduction, false, Lsn(0x200_0028));
    r.exited = Some("killed by signal 9".to_owned());
    r.checkpointed = None;
    if let Some(stop) = &mut r.stopped {
        stop.clean = false;
        stop.checkpoint = Lsn(0x200_0028);
    }
    r
}

/// A guard without a role; on its disk lies a primary or a replica.
pub fn waiting(standby_signal: bool) -> Report {
    let state = if standby_signal { ClusterState::ShutDownInRecovery } else { ClusterState::ShutDown };
    report(0, ServerState::Down, cluster(state, standby_signal, Lsn(0x200_0028)))
}
