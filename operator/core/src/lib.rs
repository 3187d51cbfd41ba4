//! The pure rules of Bascule.
