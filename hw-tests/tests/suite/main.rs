//! The everyday suite: the product against emulated keys, in this process and out of it.

mod consent;
mod input;
mod lab;
mod lifetime;
mod spine;
