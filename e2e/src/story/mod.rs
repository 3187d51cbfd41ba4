//! The story that `make demo` tells: a role moves between two real clusters by a file in git and by the death of a
//! site, while a client writes and reads all the time; and the proof of what happened.

mod chapters;
mod claims;
mod teller;

use anyhow::Result;

pub use claims::{Claim, Claims};
pub use teller::Teller;

use crate::shop::Shop;
use crate::world::World;

/// Tells the whole story in a world that is up. What it claims is judged; it goes on past a claim that does not hold,
/// as long as it can.
pub async fn tell(world: &World, teller: &Teller) -> Result<Claims> {
    let mut story = chapters::Story::begin(Shop::of(world), teller).await?;
    story.the_move_to_lyon().await?;
    story.lyon_dies().await?;
    story.lyon_returns().await?;
    story.the_same_commit_again().await?;
    story.end().await
}
