//! The scripts.

use bascule_sim::side_by_side::compare;

use crate::model::Model;
use crate::real::Real;
use crate::script::At::{A, B};
use crate::script::{Do, Sees, Wants};

/// A primary at A with three rows, and a standby at B that was cloned from it.
const PAIR: &[Do] = &[
    Do::Start(A),
    Do::Order(A, Wants::Serve, 2, 1),
    Do::Until(A, Sees::Open),
    Do::Insert(A, 3),
    Do::Start(B),
    Do::Order(B, Wants::Follow, 2, 1),
    Do::Until(B, Sees::Streams),
    Do::Rows(B, 3),
];

/// A has seven rows of its own that B never received, and is dead; B runs without it.
const SPLIT: &[Do] = &[
    Do::Order(B, Wants::Lock, 3, 1),
    Do::Until(B, Sees::Locked(3)),
    Do::Insert(A, 7),
    Do::KillGuard(A),
    // Not even as a standby may it hear of them.
    Do::Order(B, Wants::FollowNobody, 4, 1),
    Do::Until(B, Sees::Standby),
    Do::Rows(B, 3),
];

async fn play(parts: &[&[Do]]) {
    compare(&parts.concat(), Model::new(), Real::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_runs_out_stops_the_server_and_a_new_one_brings_it_back_with_every_row() {
    play(&[&[
        Do::Start(A),
        Do::Order(A, Wants::Serve, 2, 1),
        Do::Until(A, Sees::Open),
        Do::Insert(A, 3),
        Do::Deaf(A),
        Do::Until(A, Sees::Down),
        Do::Insert(A, 1),
        Do::Still(A),
        Do::Answer(A),
        Do::Until(A, Sees::Open),
        Do::Rows(A, 3),
    ]])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_handed_over_behind_a_lock_that_outlives_its_guard() {
    play(&[
        PAIR,
        &[
            Do::Order(A, Wants::Lock, 3, 1),
            Do::Until(A, Sees::Locked(3)),
            Do::Until(B, Sees::ReplayedTheStop),
            Do::KillGuard(A),
            Do::Start(A),
            Do::Until(A, Sees::NewProcess),
            // An old word does not bring it back.
            Do::Order(A, Wants::Serve, 2, 1),
            Do::Still(A),
            Do::Order(B, Wants::Serve, 5, 2),
            Do::Until(B, Sees::Open),
            Do::Rows(B, 3),
            Do::Insert(B, 2),
            Do::Order(A, Wants::Follow, 5, 2),
            Do::Until(A, Sees::Streams),
            Do::Rows(A, 5),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postmaster_is_locked_and_only_a_later_decision_starts_it_again() {
    play(&[&[
        Do::Start(A),
        Do::Order(A, Wants::Serve, 2, 1),
        Do::Until(A, Sees::Open),
        Do::Insert(A, 3),
        Do::KillServer(A),
        Do::Until(A, Sees::LockedByItself),
        Do::Still(A),
        Do::Order(A, Wants::Serve, 3, 1),
        Do::Until(A, Sees::Open),
        Do::Rows(A, 3),
    ]])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_guard_takes_its_server_with_it_and_the_next_one_waits_for_its_role() {
    play(&[&[
        Do::Start(A),
        Do::Order(A, Wants::Serve, 2, 1),
        Do::Until(A, Sees::Open),
        Do::Insert(A, 3),
        Do::Order(A, Wants::Wait, 2, 1),
        Do::KillGuard(A),
        Do::Insert(A, 1),
        Do::Start(A),
        Do::Until(A, Sees::NewProcess),
        Do::Still(A),
        Do::Order(A, Wants::Serve, 3, 1),
        Do::Until(A, Sees::Open),
        Do::Rows(A, 3),
    ]])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_without_a_grant_is_not_made() {
    play(&[
        PAIR,
        &[
            Do::KillGuard(A),
            Do::Until(B, Sees::ContactLost),
            Do::Order(B, Wants::ServeWithoutGrant, 4, 2),
            Do::Until(B, Sees::Serial(4)),
            Do::Still(B),
            Do::Insert(B, 1),
            Do::Order(B, Wants::Serve, 4, 2),
            Do::Until(B, Sees::Open),
            Do::Rows(B, 3),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_with_rows_of_its_own_waits_for_a_primary_saves_them_and_is_rewound() {
    play(&[
        PAIR,
        SPLIT,
        &[
            Do::Order(A, Wants::Follow, 5, 1),
            Do::Start(A),
            // The other one is a standby still.
            Do::Until(A, Sees::Failed),
            Do::Order(B, Wants::Serve, 6, 2),
            Do::Until(B, Sees::Open),
            Do::Insert(B, 1),
            Do::Until(A, Sees::Rewound(7)),
            Do::Rows(A, 4),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_ahead_of_the_new_primarys_fork_is_found_and_rewound() {
    play(&[
        PAIR,
        SPLIT,
        &[
            Do::MakeStandby(A),
            Do::Order(A, Wants::Follow, 5, 1),
            Do::Start(A),
            Do::Until(A, Sees::Standby),
            Do::Order(B, Wants::Serve, 6, 2),
            Do::Until(B, Sees::Open),
            Do::Insert(B, 1),
            Do::Until(A, Sees::Rewound(7)),
            Do::Rows(A, 4),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_stood_still_past_its_deadline_kills_its_server_when_it_goes_on() {
    play(&[&[
        Do::Start(A),
        Do::Order(A, Wants::Serve, 2, 1),
        Do::Until(A, Sees::Open),
        Do::Insert(A, 3),
        Do::Deaf(A),
        Do::FreezeGuard(A),
        Do::Until(A, Sees::Down),
        Do::Insert(A, 1),
        Do::Answer(A),
        Do::Until(A, Sees::Open),
        Do::Rows(A, 3),
    ]])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_killed_at_the_deadline_all_the_same() {
    play(&[&[
        Do::Start(A),
        Do::Order(A, Wants::Serve, 2, 1),
        Do::Until(A, Sees::Open),
        Do::Insert(A, 3),
        Do::FreezeServer(A),
        Do::Deaf(A),
        Do::Until(A, Sees::Down),
        Do::Answer(A),
        Do::Until(A, Sees::Open),
        Do::Rows(A, 3),
    ]])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_a_superuser_promotes_is_ended_and_comes_back_as_a_standby() {
    play(&[PAIR, &[Do::PromoteByHand(B), Do::Until(B, Sees::Rewound(0)), Do::Insert(A, 2), Do::Rows(B, 5)]])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_promotions_that_leave_one_timeline_the_second_takes_another_number_and_the_first_is_rewound()
{
    play(&[
        PAIR,
        &[
            Do::Order(A, Wants::Lock, 3, 1),
            Do::Until(A, Sees::Locked(3)),
            Do::Until(B, Sees::ReplayedTheStop),
            Do::Order(B, Wants::Serve, 5, 2),
            Do::Until(B, Sees::Open),
            Do::Insert(B, 7),
            Do::KillGuard(B),
            // The old one has nothing of that, and is promoted too.
            Do::MakeStandby(A),
            Do::Until(A, Sees::StandbyOnDisk),
            Do::Order(A, Wants::Serve, 6, 3),
            Do::Until(A, Sees::Open),
            Do::Insert(A, 1),
            Do::Order(B, Wants::Follow, 7, 3),
            Do::Start(B),
            Do::Until(B, Sees::Rewound(7)),
            Do::Rows(B, 4),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stopped_cleanly_runs_as_a_standby_though_its_upstream_is_gone() {
    play(&[
        PAIR,
        &[
            Do::Order(A, Wants::Lock, 3, 1),
            Do::Until(A, Sees::Locked(3)),
            Do::Until(B, Sees::ReplayedTheStop),
            Do::KillGuard(B),
            Do::Order(A, Wants::Follow, 4, 2),
            Do::Until(A, Sees::ContactLost),
            Do::Until(A, Sees::Standby),
            Do::Rows(A, 3),
            Do::Order(A, Wants::Serve, 5, 3),
            Do::Until(A, Sees::Open),
            Do::Insert(A, 1),
            Do::Order(B, Wants::Follow, 6, 3),
            Do::Start(B),
            Do::Until(B, Sees::Streams),
            Do::Rows(B, 4),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stopped_cleanly_runs_beside_a_standby_and_follows_it_once_that_is_promoted() {
    play(&[
        PAIR,
        &[
            Do::Order(A, Wants::Lock, 3, 1),
            Do::Until(A, Sees::Locked(3)),
            Do::Until(B, Sees::ReplayedTheStop),
            Do::Order(B, Wants::ServeWithoutGrant, 4, 2),
            Do::Order(A, Wants::Follow, 4, 2),
            Do::Until(A, Sees::Standby),
            Do::Rows(A, 3),
            Do::Order(B, Wants::Serve, 5, 2),
            Do::Until(B, Sees::Open),
            Do::Insert(B, 2),
            Do::Until(A, Sees::Streams),
            Do::Rows(A, 5),
        ],
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_replica_waits_for_an_upstream_that_is_away_and_is_cloned_when_it_is_there() {
    play(&[&[
        Do::Start(B),
        Do::Order(B, Wants::FollowNobody, 2, 1),
        Do::Until(B, Sees::Failed),
        Do::Start(A),
        Do::Order(A, Wants::Serve, 3, 1),
        Do::Until(A, Sees::Open),
        Do::Insert(A, 3),
        Do::Order(B, Wants::Follow, 3, 1),
        Do::Until(B, Sees::Streams),
        Do::Rows(B, 3),
    ]])
    .await;
}
