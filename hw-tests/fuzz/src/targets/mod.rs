//! One target for each parser.

mod audit;
mod device;
mod encoding;
mod import;
mod lease;
mod proxy;
mod ssh;
mod vault;
mod wire;

use crate::samples;

/// A parser, what has to hold for it, and what it is fed first.
pub struct Target {
    /// By which `run` knows it.
    pub name: &'static str,
    /// Longest input that makes sense, in bytes.
    pub longest: usize,
    /// Memory that it may use beside what any parser may, in bytes: windows of decoders, whose bound is not the input's length.
    pub extra: usize,
    /// Parses, and asserts what has to hold.
    pub run: fn(&[u8]),
    /// Inputs made by the product's own writers.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// The target called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

const fn target(name: &'static str, longest: usize, run: fn(&[u8]), samples: fn() -> Vec<Vec<u8>>) -> Target {
    Target {
        name,
        longest,
        extra: 0,
        run,
        samples,
    }
}

/// Every target.
pub const ALL: &[Target] = &[
    target("hid-packets", 64 * 140, device::packets, samples::device::packets),
    target("hid-conversation", 64 * 32, device::conversation, samples::device::conversation),
    target("hid-descriptor", 256, device::descriptor, samples::device::descriptor),
    target("attestation", 4096, device::attestation, samples::device::attestation),
    target("apdu", 4096, device::apdu, samples::device::apdu),
    target("cbor", 2048, device::cbor, samples::device::cbor),
    target("get-info", 2048, device::get_info, samples::device::get_info),
    target("make-credential", 2048, device::make_credential, samples::device::make_credential),
    target("get-assertion", 2048, device::get_assertion, samples::device::get_assertion),
    target("client-pin", 1024, device::client_pin, samples::device::client_pin),
    target("ctap-session", 4096, device::session, samples::device::session),
    target("worker-frame", 4096, device::worker_frame, samples::device::worker_frame),
    target("ssh-key", 8300, encoding::ssh_key, samples::encoding::ssh_key),
    target("ssh-agent", 4096, ssh::agent, samples::ssh::agent),
    target("ssh-login", 4096, ssh::login, samples::ssh::login),
    target("target", 512, encoding::target, samples::encoding::target),
    target("public-key", 128, encoding::public_key, samples::encoding::public_key),
    target("exchange", 4096, encoding::exchange, samples::encoding::exchange),
    target("naming", 2048, encoding::naming, samples::encoding::naming),
    target("issuer-served", 8192, import::issuer_served, samples::import::issuer_served),
    target("sshsig", 2048, encoding::sshsig, samples::encoding::sshsig),
    target("reference", 300, encoding::reference, samples::encoding::reference),
    target("marker", 64, vault::marker, samples::vault::marker),
    target("statement", 8192, vault::statement, samples::vault::statement),
    target(
        "recovery-signature",
        2048,
        vault::recovery_signature,
        samples::vault::recovery_signature,
    ),
    target("head", 4096, vault::head, samples::vault::head),
    target("node", 4096, vault::node, samples::vault::node),
    target("page", 4096, vault::page, samples::vault::page),
    target("record", 4096, vault::record, samples::vault::record),
    target("slot-half", 256, vault::half, samples::vault::slot_half),
    target("slot-seal", 256, vault::seal, samples::vault::slot_seal),
    target("carry", 1024, vault::carry, samples::vault::carry),
    target("change-list", 4096, vault::change_list, samples::vault::change_list),
    target("accepted", 2048, vault::accepted, samples::vault::accepted),
    target("records-list", 2048, vault::records_list, samples::vault::records_list),
    target("backup", 16384, vault::backup, samples::vault::backup),
    target("recovery-code", 128, vault::recovery_code, samples::vault::recovery_code),
    target("lease-text", 4096, lease::lease_text, samples::lease::lease_text),
    target("change-text", 4096, lease::change_text, samples::lease::change_text),
    target("clock-text", 2048, lease::clock_text, samples::lease::clock_text),
    target("older-text", 4096, lease::older_text, samples::lease::older_text),
    target("export-text", 2048, lease::export_text, samples::lease::export_text),
    target("enrol-text", 2048, lease::enrol_text, samples::lease::enrol_text),
    target("unlock-text", 1024, lease::unlock_text, samples::lease::unlock_text),
    target("roster-beside", 16384, lease::roster_beside, samples::lease::roster_beside),
    target("import-env", 4096, import::environment, samples::import::environment),
    target("import-1pux", 8192, import::onepux, samples::import::onepux),
    target("env-file", 4096, import::env_file, samples::import::env_file),
    target("git-objects", 4096, import::git_objects, samples::import::git_objects),
    target("kdbx-cost", 1024, import::kdbx_cost, samples::import::kdbx_cost),
    target("task-file", 4096, lease::task_file, samples::lease::task_file),
    target("configuration", 1024, lease::configuration, samples::lease::configuration),
    target("wire-call", 4096, wire::call, samples::wire::call),
    target("wire-reply", 4096, wire::reply, samples::wire::reply),
    target("wire-lines", 8192, wire::lines, samples::wire::lines_of_all),
    target("audit-line", 4096, audit::line, samples::audit::line),
    target("audit-log", 16384, audit::log, samples::audit::log),
    target("proxy-host", 300, proxy::host, samples::proxy::host),
    target("proxy-rule", 1024, proxy::rule, samples::proxy::rule),
    target("proxy-head", 4096, proxy::head, samples::proxy::head),
    // Brotli's largest window and its ring's end; zstd's is half of it, and grows by doubling.
    Target {
        extra: 34 << 20,
        ..target("proxy-answer", 4096, proxy::answer, samples::proxy::answer)
    },
    target("receipt", 4096, audit::receipt, samples::audit::receipt),
];
