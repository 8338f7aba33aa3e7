//! The everyday suite: the product against emulated keys, in this process and out of it.

mod consent;
mod docs;
mod hygiene;
mod input;
mod isolation;
mod lab;
mod lifetime;
mod spine;
