//! The names.

/// Which program does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doer {
    /// A site's operator.
    Operator,
    /// The guard of a site's database.
    Guard,
}

macro_rules! effects {
    ($($doer:ident { $($(#[$doc:meta])+ $effect:ident = $name:literal),+ $(,)? })+) => {
        /// Something that one of the programs changes outside of itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Effect {
            $($($(#[$doc])+ $effect,)+)+
        }

        impl Effect {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($(Self::$effect,)+)+];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$effect => $name,)+)+
                }
            }

            /// Whose it is.
            pub const fn doer(self) -> Doer {
                match self {
                    $($(Self::$effect => Doer::$doer,)+)+
                }
            }
        }
    };
}

effects! {
    Operator {
        /// The site's lease is renewed at the arbiter.
        RenewLease = "renew-lease",
        /// A record is written in this phase.
        RecordUnmanaged = "record-unmanaged",
        /// A record is written in this phase.
        RecordSteady = "record-steady",
        /// A record is written in this phase.
        RecordRequested = "record-requested",
        /// A record is written in this phase.
        RecordHandover = "record-handover",
        /// A record is written in this phase.
        RecordPromoting = "record-promoting",
        /// A record is written in this phase.
        RecordReadOnly = "record-read-only",
        /// A record is written in this phase.
        RecordReturning = "record-returning",
        /// A record is written in this phase.
        RecordOffered = "record-offered",
        /// A record is written in this phase.
        RecordWithdrawn = "record-withdrawn",
        /// A record is written in a phase of a newer version.
        RecordOfNewerVersion = "record-of-newer-version",
        /// The site's facts about a policy are written at the arbiter.
        WriteFacts = "write-facts",
        /// A guard is told to go on as it is. Of every word to a guard: it is over when it is on its way.
        InstructKeep = "instruct-keep",
        /// A guard is told that it has no role.
        InstructWait = "instruct-wait",
        /// A guard is told to follow, closed.
        InstructFollow = "instruct-follow",
        /// A guard is told to follow, open for reads.
        InstructFollowOpen = "instruct-follow-open",
        /// A guard is told to serve, closed.
        InstructServe = "instruct-serve",
        /// A guard is told to serve, open.
        InstructServeOpen = "instruct-serve-open",
        /// A guard is told to stop and stay down.
        InstructLock = "instruct-lock",
        /// A guard is told, with whatever role, to run a checkpoint.
        InstructCheckpoint = "instruct-checkpoint",
        /// A guard's connection is ended.
        RefuseGuard = "refuse-guard",
        /// A high-water mark is raised in the site's cluster.
        RaiseMark = "raise-mark",
        /// A workload's read-only flag is set.
        SetReadOnly = "set-read-only",
        /// A workload's read-only flag is cleared.
        ClearReadOnly = "clear-read-only",
        /// A workload is scaled.
        Scale = "scale",
        /// A traffic target is pointed at a site.
        PointTraffic = "point-traffic",
        /// A gateway is told to refuse writes.
        RefuseWrites = "refuse-writes",
        /// A gateway is told to let writes pass.
        PassWrites = "pass-writes",
        /// A write is committed through the operator's own role.
        VerifyWrite = "verify-write",
        /// The state of a policy is handed to those who show it.
        Publish = "publish",
        /// The site's heartbeat is written, with what it does not vouch for.
        Beat = "beat",
        /// A line is handed to the journal.
        Journal = "journal",
        /// The status of an object is written.
        WriteStatus = "write-status",
        /// An Event is written.
        TellEvent = "tell-event",
        /// An object that git changed is applied.
        ApplyFromGit = "apply-from-git",
        /// An object that git has for the first time, or gives back what was changed by hand, is written.
        WriteFromGit = "write-from-git",
        /// An object that git does not have any more is deleted.
        DeleteGoneFromGit = "delete-gone-from-git",
        /// The process ends: the site's name belongs to another cluster.
        Stop = "stop",
    }
    Guard {
        /// Every process of the server is ordered to end at once.
        Kill = "kill",
        /// A fast stop, from the order until the server is down or is killed.
        StopFast = "stop-fast",
        /// The promotion trigger is taken back before anything else.
        TakeTriggerBack = "take-trigger-back",
        /// The server is started as a primary, closed: the whole step.
        StartPrimary = "start-primary",
        /// The server is started as a standby without an upstream: the whole step.
        StartOrphan = "start-orphan",
        /// The server is brought back to its upstream's history, or started as a standby: the whole step.
        Join = "join",
        /// The empty data directory is filled: the whole step.
        Clone = "clone",
        /// The standby is promoted: the whole step.
        Promote = "promote",
        /// The standby is closed and promoted: the whole step.
        CloseAndPromote = "close-and-promote",
        /// Clients are let in to write: the whole step.
        Open = "open",
        /// Clients are let in to read: the whole step.
        OpenStandby = "open-standby",
        /// Clients are kept out: the whole step.
        Close = "close",
        /// A checkpoint that the operator wants: with every attempt.
        Checkpoint = "checkpoint",
        /// The operator is asked, with a report.
        Ask = "ask",
        /// The site's lease is renewed in the operator's absence.
        RenewLeaseAlone = "renew-lease-alone",
        /// The process ends.
        Exit = "exit",
        /// What the rules remember is written beside the data.
        WriteMemory = "write-memory",
        /// The mark of the last opening is written.
        WriteOpened = "write-opened",
        /// What the standby knew when it lost contact is written.
        WriteContact = "write-contact",
        /// It is removed.
        RemoveContact = "remove-contact",
        /// The note of what was saved is written.
        WriteDiverged = "write-diverged",
        /// The mark of a rewind that begins, or has come to its end, is written.
        WriteRewinding = "write-rewinding",
        /// It is removed.
        RemoveRewinding = "remove-rewinding",
        /// How the last stop of a primary ended is written.
        WriteStopped = "write-stopped",
        /// What the operator said last is written, for a person who is left without one.
        WriteHeard = "write-heard",
        /// A person's word that the server runs without grants, or does so no more, is written.
        WriteUnlocked = "write-unlocked",
        /// Whether the directory beside the data takes a file is tried.
        TryStateDirectory = "try-state-directory",
        /// A directory of the guard's is made.
        MakeDirectory = "make-directory",
        /// The rules for clients are written closed.
        WriteClosedRules = "write-closed-rules",
        /// The rules for clients are written open.
        WriteOpenRules = "write-open-rules",
        /// The map of names is written.
        WriteIdent = "write-ident",
        /// The upstream's password is written.
        WritePassfile = "write-passfile",
        /// The history that a promotion leaves is marked.
        MarkHistory = "mark-history",
        /// A timeline's number is left free.
        LeaveNumber = "leave-number",
        /// It is taken back.
        TakeNumberBack = "take-number-back",
        /// The next start is made a standby's.
        WriteStandbySignal = "write-standby-signal",
        /// It is not any more.
        RemoveStandbySignal = "remove-standby-signal",
        /// The promotion trigger is removed.
        RemoveTrigger = "remove-trigger",
        /// The promotion trigger is made and the server told.
        TriggerPromotion = "trigger-promotion",
        /// A lock file that names a stranger is removed.
        RemoveLockFile = "remove-lock-file",
        /// The server's first process is started.
        StartServer = "start-server",
        /// The server is told to read its files again.
        Reload = "reload",
        /// Clients' sessions are ended.
        EndSessions = "end-sessions",
        /// Backends that are no sessions yet are ended.
        EndNewcomers = "end-newcomers",
        /// The server is asked for a fast stop.
        AskToStop = "ask-to-stop",
        /// Every process of the server is killed by the watch.
        EndAll = "end-all",
        /// A tool that nobody waits for any more is killed.
        EndTool = "end-tool",
        /// The server is told to make a checkpoint.
        RunCheckpoint = "run-checkpoint",
        /// The standbys' slots are made.
        MakeSlots = "make-slots",
        /// Slots that hold back log for nobody are dropped.
        DropSlots = "drop-slots",
        /// `pg_rewind` runs.
        RunRewind = "run-rewind",
        /// A crashed copy is recovered, alone.
        RunRecovery = "run-recovery",
        /// `pg_basebackup` runs.
        RunClone = "run-clone",
        /// What an earlier clone has left is removed.
        RemovePartialClone = "remove-partial-clone",
        /// Whether a clone will get its place is tried.
        TryClonesPlace = "try-clones-place",
        /// The clone is made a standby.
        WriteClonesSignal = "write-clones-signal",
        /// The clone gets its place.
        PlaceClone = "place-clone",
        /// The diverged log is copied.
        CopyDiverged = "copy-diverged",
        /// The copy gets its place.
        PlaceDiverged = "place-diverged",
        /// What was kept of the site's files by an earlier rewind is removed.
        RemoveOwnFiles = "remove-own-files",
        /// One of the site's files is kept.
        KeepOwnFile = "keep-own-file",
        /// The kept ones get their place.
        PlaceOwnFiles = "place-own-files",
        /// One of the site's files is put back.
        RestoreOwnFile = "restore-own-file",
        /// A line of the guard's journal is written.
        AppendJournal = "append-journal",
        /// The guard's journal turns its page.
        TurnJournal = "turn-journal",
        /// The program is copied for another container.
        Install = "install",
    }
}
