//! The everyday suite: the product against emulated keys, in this process and out of it.

mod docs;
mod spine;
