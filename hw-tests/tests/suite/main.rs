//! The everyday suite: the product against emulated keys, in this process and out of it.

mod consent;
mod docs;
mod input;
mod lab;
mod lifetime;
mod spine;
