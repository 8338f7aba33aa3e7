//! First inputs, made by the product's own writers or taken from its pages, which tests hold against the product.

pub mod audit;
pub mod device;
pub mod encoding;
pub mod import;
pub mod lease;
pub mod proxy;
pub mod ssh;
pub mod vault;
pub mod wire;

/// What signatures of the samples are over.
pub mod text {
    /// A short text in canonical form.
    pub const SIGNED: &[u8] = b"{\"v\":1}";
}

/// The fenced blocks of `kind` in a page.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}
