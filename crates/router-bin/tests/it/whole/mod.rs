//! The whole router in one process, over sessions in memory and an upstream on loopback, seen by two users.

mod audit;
mod house;
mod isolation;
mod site;
mod stopped;

use house::Whole;
