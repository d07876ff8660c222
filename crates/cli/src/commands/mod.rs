//! One file per command.

pub mod backup;
pub mod completion;
pub mod describe;
pub mod down;
pub mod generate;
pub mod get;
pub mod manager;
pub mod quickstart;
pub mod reference;
pub mod up;
pub mod version;
