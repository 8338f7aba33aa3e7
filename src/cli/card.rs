//! A prompt as a person reads it, made from the bytes that will be signed and from nothing else.

mod changed;
mod enrol;
pub mod joins;
mod older;
mod requester;
mod roster;
pub mod signers;

use jiff::{Timestamp, tz::TimeZone};

use self::requester::{asked_at, requester_rows};
use super::columns::wrap;
use super::ui::{Tone, Ui};
use crate::encoding::Digest;
use crate::encoding::plain::{self, count};
use crate::encoding::words::four_words;
use crate::lease::grant::Via;
use crate::lease::requester::command_line;
use crate::lease::text::{
    BeforeText, ChangeText, ClockText, EnrolText, ExportText, GrantText, Holder, LeaseText, OlderText, Origin, ProxyText, ScanText,
    Text as _, UnlockText, WriteText,
};
use crate::vault::Statement;
use crate::vault::signer::SignerKind;
use crate::wire::PromptView;
use crate::wire::request::RulesAsk;
use crate::wire::signer::SignerRules;

/// Width of the left column.
const LABEL: usize = 9;
/// Fewest columns that a card is laid out for.
pub const NARROWEST: usize = 40;

/// A row: its label and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    label: &'static str,
    text: String,
    /// Where room is short, of a row that has to be there.
    short: Option<String>,
    tone: Tone,
    need: Need,
}

/// What a person must have seen before a touch, and what gives way first on a small terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Who, what, how long, the words: without them no key is armed.
    Must,
    /// What helps to judge.
    Helps,
    /// What can be looked up elsewhere.
    Spare,
}

/// A card: what is fixed about a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    rows: Vec<Row>,
    /// What is said when what it asks for was given.
    given: &'static str,
}

impl Card {
    /// Decodes the text of `view`. A text that does not decode cannot be shown, so it must not be approved.
    #[must_use]
    pub fn of(view: &PromptView, zone: &TimeZone) -> Option<Self> {
        let (mut rows, mut given) = (vec![], "approved");
        if let Ok(lease) = LeaseText::decode(&view.text) {
            lease_rows(&mut rows, &lease, zone);
        } else if let Ok(change) = ChangeText::decode(&view.text) {
            change_rows(&mut rows, &change, zone);
        } else if let Ok(export) = ExportText::decode(&view.text) {
            export_rows(&mut rows, &export);
        } else if let Ok(scan) = ScanText::decode(&view.text) {
            scan_rows(&mut rows, &scan);
        } else if let Ok(clock) = ClockText::decode(&view.text) {
            origin_rows(&mut rows, &clock.origin, "asks to accept the clock");
            must(&mut rows, "clock", format!("it says {}", clock_time(clock.now, zone)));
            must(&mut rows, "", clock.moved.clone());
        } else if let Ok(text) = OlderText::decode(&view.text) {
            origin_rows(&mut rows, &text.origin, older::asks(&text));
            older::rows(&mut rows, &text, zone);
        } else if let Ok(enrol) = EnrolText::decode(&view.text) {
            enrol::rows(&mut rows, &enrol, zone);
            given = if enrol.recovers.is_some() { "recovered" } else { "touched" };
        } else if let Ok(unlock) = UnlockText::decode(&view.text) {
            requester_rows(&mut rows, &unlock.requester, "asks for a PIN");
            given = "PIN kept";
            must(
                &mut rows,
                "key",
                format!(
                    "\"{}\"; its PIN is kept for {}, a touch is needed all the same",
                    unlock.key,
                    duration(unlock.keep)
                ),
            );
        } else {
            let statement = Statement::from_bytes(view.text.as_bytes()).ok()?;
            roster::rows(&mut rows, &statement, view.beside.as_deref(), zone)?;
        }
        if let Some(terminal) = &view.elsewhere {
            // Below who asks.
            rows.insert(rows.len().min(1), asked_at(terminal));
        }
        let words = four_words(&Digest::of(view.text.as_bytes())).join("  ");
        strong(&mut rows, "words", words);
        rows.push(Row::new("vault", view.vault.clone(), Tone::Dim, Need::Spare));
        // The texts were checked when they were fixed; a path, or a statement that somebody else wrote, was not (T10).
        for row in &mut rows {
            row.text = plain::visible(&row.text);
            row.short = row.short.as_deref().map(plain::visible);
        }
        Some(Self { rows, given })
    }

    /// What to say when what it asks for was given.
    #[must_use]
    pub fn given(&self) -> &'static str {
        self.given
    }

    /// The card as lines that fit a screen of so many columns and rows, painted. On a small one what helps gives way, and says so;
    /// nothing when what a person must see does not fit.
    #[must_use]
    pub fn lines(&self, width: usize, height: usize, ui: Ui) -> Option<Vec<String>> {
        if width < NARROWEST {
            return None;
        }
        let whole = [Need::Spare, Need::Helps, Need::Must].map(|least| (least, false));
        let mut layouts = whole.into_iter().chain([(Need::Must, true)]);
        layouts.find_map(|(least, short)| {
            let lines = self.layout(width, least, short, ui);
            (lines.len() <= height).then_some(lines)
        })
    }

    /// Rows of the smallest screen of `width` columns on which it can be shown.
    #[must_use]
    pub fn least_height(&self, width: usize, ui: Ui) -> usize {
        self.layout(width.max(NARROWEST), Need::Must, true, ui).len()
    }

    fn layout(&self, width: usize, least: Need, short: bool, ui: Ui) -> Vec<String> {
        let (shown, left_out): (Vec<&Row>, Vec<&Row>) = self.rows.iter().partition(|row| row.need <= least);
        let mut lines: Vec<String> = shown.iter().flat_map(|row| row.lines(width, short, ui)).collect();
        if short || !left_out.is_empty() {
            let more = if short {
                "more on a larger terminal".to_owned()
            } else {
                format!("{} more on a larger terminal", count(left_out.len(), "line"))
            };
            lines.extend(Row::new("", more, Tone::Dim, Need::Must).lines(width, false, ui));
        }
        lines
    }
}

impl Row {
    fn new(label: &'static str, text: String, tone: Tone, need: Need) -> Self {
        Self {
            label,
            text,
            short: None,
            tone,
            need,
        }
    }

    fn lines(&self, width: usize, short: bool, ui: Ui) -> Vec<String> {
        let text = self.short.as_ref().filter(|_| short).unwrap_or(&self.text);
        let wrapped = wrap(text, width - LABEL - 1);
        let label = |i: usize| if i == 0 { self.label } else { "" };
        wrapped
            .iter()
            .enumerate()
            .map(|(i, part)| format!(" {:LABEL$}{}", label(i), ui.paint_screen(self.tone, part)))
            .collect()
    }
}

/// `90 s`, `15 min`, `1 h 30 min`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = [(hours, "h"), (minutes, "min"), (rest, "s")];
    let said: Vec<_> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n} {unit}"))
        .collect();
    if said.is_empty() { "0 s".into() } else { said.join(" ") }
}

/// A time of day in `zone`.
#[must_use]
pub fn clock_time(seconds: u64, zone: &TimeZone) -> String {
    let at = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    at.map_or_else(
        || format!("{seconds}"),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
    )
}

/// What a lease that was approved says: who asked, for what, how long. Label and text; those without a label belong to the one above.
#[must_use]
pub fn approved(lease: &LeaseText) -> Vec<(&'static str, String)> {
    let mut rows = vec![];
    origin_rows(&mut rows, &lease.origin, "asked for it");
    asked_rows(&mut rows, lease);
    must(&mut rows, "for", term(lease));
    must(&mut rows, "held by", holder(lease).0);
    rows.into_iter().map(|row| (row.label, row.text)).collect()
}

fn lease_rows(rows: &mut Vec<Row>, lease: &LeaseText, zone: &TimeZone) {
    origin_rows(rows, &lease.origin, "asks for a lease");
    asked_rows(rows, lease);
    joins::rows(rows, &lease.origin.vault, zone);
    rows.push(Row {
        short: Some(shortest_term(lease)),
        ..Row::new("for", term(lease), Tone::Plain, Need::Must)
    });
    // The text's own end leaves room for the time that the prompt stands open.
    push(rows, "", format!("until {} at the latest", clock_time(lease.not_after, zone)));
    let (holder, shortest) = holder(lease);
    rows.push(Row {
        short: Some(shortest),
        ..Row::new("held by", holder, Tone::Plain, Need::Must)
    });
}

fn asked_rows(rows: &mut Vec<Row>, lease: &LeaseText) {
    if let Some(task) = &lease.task {
        push(rows, "task", format!("{}: {}", task.name, task.about));
        task.changed.iter().for_each(|changed| changed::rows(rows, changed));
    }
    if let Some(reason) = &lease.reason {
        push(rows, "reason", format!("\"{reason}\" (their words)"));
    }
    if !lease.command.is_empty() {
        push(rows, "runs", format!("{} (claimed)", command_line(&lease.command)));
    }
    for (i, grant) in lease.grants.iter().enumerate() {
        strong(rows, if i == 0 { "gets" } else { "" }, grant_text(grant));
        if let Some(token) = &grant.token {
            signers::token_rows(rows, token);
        }
        if let Some(certificate) = &grant.certificate {
            signers::certificate_rows(rows, certificate);
        }
        if let Some(signature) = &grant.signature {
            signers::signature_rows(rows, signature, lease.uses);
        }
    }
    if let Some(task) = lease.task.as_ref().filter(|_| lease.has_tokens()) {
        // Whoever asks chose it, and it is signed.
        must(rows, "with", format!("task = {}", task.name));
    }
}

fn grant_text(grant: &GrantText) -> String {
    let env = grant.env.as_deref().unwrap_or_default();
    let form = match (grant.via, &grant.proxy) {
        (Via::Env, _) => "in its environment as ".to_owned(),
        (Via::File, _) => "in a private file as ".to_owned(),
        (Via::Proxy, Some(proxy)) => proxy_text(proxy),
        (Via::Signer, _) => return signers::signed(grant),
        (Via::Proxy, None) => "proxy to nowhere, placeholder in ".to_owned(),
    };
    format!("{}  version {}, {form}{env}", grant.secret, grant.version)
}

/// Where it may be sent: hosts, methods, paths, each in full.
fn proxy_text(proxy: &ProxyText) -> String {
    let or_any = |words: &[String], any: &str| if words.is_empty() { any.to_owned() } else { words.join(" ") };
    let plain = proxy.hosts.iter().any(|host| host.starts_with("http://"));
    format!(
        "proxy to {}  {}  {}{}{}, placeholder in ",
        proxy.hosts.join(" "),
        or_any(&proxy.methods, "any method"),
        or_any(&proxy.paths, "any path"),
        if proxy.form == "bearer" {
            String::new()
        } else {
            format!("  as {}", proxy.form)
        },
        if plain { "  http:// IS NOT ENCRYPTED" } else { "" },
    )
}

fn term(lease: &LeaseText) -> String {
    let whole = duration(lease.ttl);
    match lease.uses {
        Some(uses) => format!("{whole} from the touch, or {}, whichever ends first", count(uses, "use")),
        None => match signers::signs_any(lease) {
            Some(any) => format!("{whole} from the touch, and {any} until then"),
            None => format!("{whole} from the touch"),
        },
    }
}

fn shortest_term(lease: &LeaseText) -> String {
    match lease.uses {
        Some(uses) => format!("{}, {} at most", duration(lease.ttl), count(uses, "use")),
        None => match signers::signs_any(lease) {
            Some(any) => format!("{}, {any}", duration(lease.ttl)),
            None => duration(lease.ttl),
        },
    }
}

/// Whether one command gets it or a whole shell, and the same where room is short.
fn holder(lease: &LeaseText) -> (String, String) {
    match &lease.holder {
        // Of `run`, or an agent's server, which runs several commands under one lease.
        Holder::Connection => ("the touchlease that asks; ends with it".into(), "the touchlease that asks".into()),
        Holder::Process { name, pid } => (
            format!("{name}, pid {pid}, and what it starts; ends with it"),
            format!("{name} and what it starts"),
        ),
    }
}

fn change_rows(rows: &mut Vec<Row>, change: &ChangeText, zone: &TimeZone) {
    origin_rows(rows, &change.origin, "changes the vault");
    for (i, (what, secrets, signer)) in alike(&change.writes).into_iter().enumerate() {
        let text = match secrets.as_slice() {
            [secret] => format!("{secret}  {what}"),
            many => format!("{} secrets, each {what}: {}", many.len(), many.join(", ")),
        };
        let ends = secrets.first().zip(secrets.last()).filter(|_| secrets.len() > 2);
        rows.push(Row {
            short: ends.map(|(first, last)| format!("{} secrets, each {what}: {first} ... {last}", secrets.len())),
            ..Row::new(
                if i == 0 || signer.is_some() { "writes" } else { "" },
                text,
                Tone::Strong,
                Need::Must,
            )
        });
        if let Some((signer, before)) = signer {
            signers::rows(rows, signer, before);
        }
    }
    for (i, secret) in change.removes.iter().enumerate() {
        strong(rows, if i == 0 { "removes" } else { "" }, signers::removed(secret, &change.drops));
    }
    signers::drops(rows, &change.drops);
    joins::kept(rows, &change.keeps, zone);
    joins::rows(rows, &change.origin.vault, zone);
}

fn export_rows(rows: &mut Vec<Row>, export: &ExportText) {
    origin_rows(rows, &export.origin, "takes everything out");
    rows.push(Row::new("WARNING", export.warning.clone(), Tone::Bad, Need::Must));
    let staying = match export.left_out {
        0 => String::new(),
        1 => "; 1 stays, whose rules forbid it".to_owned(),
        left_out => format!("; {left_out} stay, whose rules forbid it"),
    };
    must(
        rows,
        "takes",
        format!("{} of {}{staying}", count(export.secrets, "secret"), export.scope),
    );
    must(rows, "to", format!("{} (claimed)", export.to));
}

fn scan_rows(rows: &mut Vec<Row>, scan: &ScanText) {
    origin_rows(rows, &scan.origin, "looks where your secrets stand");
    strong(
        rows,
        "seeks",
        format!(
            "{} of {}, from {} bytes on",
            count(scan.secrets, "secret"),
            scan.scopes.join(" and "),
            scan.least
        ),
    );
    for (at, place) in scan.places.iter().enumerate() {
        must(rows, if at == 0 { "in" } else { "" }, format!("{place} (claimed)"));
    }
    if let Some(reason) = &scan.reason {
        must(rows, "reason", format!("\"{reason}\" (their words)"));
    }
    must(rows, "learns", "which secret stands where there, and no value of any".to_owned());
    must(rows, "for", format!("one scan of {} at most", duration(scan.ttl)));
}

/// What can be said of neighbours that are written, their names, and the rules of a signer, which has a row of its own, as they will be and
/// what they were.
type Alike<'a> = (String, Vec<String>, Option<(&'a SignerRules, Option<&'a BeforeText>)>);

/// What is written, in the order of the text; neighbours of which the same can be said share a row, so that the names of a large batch
/// are read as names.
fn alike(writes: &[WriteText]) -> Vec<Alike<'_>> {
    let mut rows: Vec<Alike<'_>> = Vec::new();
    for write in writes {
        let signer = write.rules.signer.as_deref().map(|signer| (signer, write.before.as_ref()));
        let (what, secret) = (write_text(write), write.secret.to_string());
        match rows.last_mut() {
            Some((last, secrets, None)) if signer.is_none() && *last == what => secrets.push(secret),
            _ => rows.push((what, vec![secret], signer)),
        }
    }
    rows
}

fn write_text(write: &WriteText) -> String {
    let what = match (write.value, write.version) {
        (_, None) => "new".to_owned(),
        (false, Some(version)) => format!("rules only, version {version}"),
        (true, Some(version)) => format!("new value, version {version}"),
    };
    format!("{what}; {}", rules_of_row(&write.rules))
}

/// Rules in words.
#[must_use]
pub fn rules(rules: &RulesAsk) -> String {
    limited(rules, rules.signer.as_deref().map(signers::rules))
}

/// The same, where what a signer may sign stands in rows below.
fn rules_of_row(rules: &RulesAsk) -> String {
    let signer = rules.signer.as_ref();
    let of = |signer: &SignerRules| match SignerKind::of(!signer.principals.is_empty(), !signer.namespaces.is_empty()) {
        SignerKind::Tokens => "",
        SignerKind::Certificates => " of SSH certificates",
        SignerKind::Signatures => " of SSH signatures",
    };
    limited(
        rules,
        signer.map(|signer| format!("sealed signer ({}){}", signer.alg.as_str(), of(signer))),
    )
}

fn limited(rules: &RulesAsk, signer: Option<String>) -> String {
    let mut text = signer.unwrap_or_else(|| rules.deliveries.join(" or "));
    if !rules.hosts.is_empty() {
        text += &format!("; only to {}", rules.hosts.join(" "));
    }
    if !rules.methods.is_empty() {
        text += &format!(" {}", rules.methods.join(" "));
    }
    if !rules.paths.is_empty() {
        text += &format!(" {}", rules.paths.join(" "));
    }
    if let Some(form) = &rules.send_as {
        text += &format!("; sent as {form}");
    }
    // What a secret's rules say nothing of, everybody expects to be without a limit; of a signer nobody does.
    let uses = rules.uses.or(rules.signer.as_ref().map(|_| 0));
    let most = signers::most(rules.ttl, uses);
    most.iter().for_each(|most| text += &format!("; {most}"));
    text
}

fn origin_rows(rows: &mut Vec<Row>, origin: &Origin, verb: &str) {
    requester_rows(rows, &origin.requester, verb);
}

/// What has to be seen.
fn must(rows: &mut Vec<Row>, label: &'static str, text: String) {
    rows.push(Row::new(label, text, Tone::Plain, Need::Must));
}

/// What has to be seen first.
fn strong(rows: &mut Vec<Row>, label: &'static str, text: String) {
    rows.push(Row::new(label, text, Tone::Strong, Need::Must));
}

fn push(rows: &mut Vec<Row>, label: &'static str, text: String) {
    rows.push(Row::new(label, text, Tone::Plain, Need::Helps));
}

fn spare(rows: &mut Vec<Row>, label: &'static str, text: String) {
    rows.push(Row::new(label, text, Tone::Plain, Need::Spare));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::lease::text::tests::sample;
    use crate::lease::text::{CardText, EnrolKind, FactoryText, UnlockKind, VERSION};

    pub(super) fn view(text: &str) -> PromptView {
        PromptView {
            prompt: 1,
            text: text.into(),
            beside: None,
            left_ms: 60_000,
            keys: vec![],
            waiting: 0,
            vault: "/v".into(),
            elsewhere: None,
        }
    }

    /// Without colours.
    pub(super) fn plain_screen() -> Ui {
        Ui::new(false, true)
    }

    pub(super) fn lease_card(lease: &LeaseText) -> Card {
        Card::of(&view(lease.fix().unwrap().text()), &TimeZone::UTC).unwrap()
    }

    #[test]
    fn on_a_small_screen_what_helps_gives_way_and_says_so_and_what_must_be_seen_stays() {
        let card = lease_card(&sample());
        let full = card.lines(80, 24, plain_screen()).unwrap();
        assert!(!full.join("\n").contains("larger terminal") && full.len() > 10, "{full:?}");
        for (width, height) in [(80, full.len() - 1), (60, 10), (60, 9), (40, 9)] {
            let lines = card.lines(width, height, plain_screen()).unwrap();
            let shown = lines.join("\n");
            assert!(lines.len() <= height && lines.iter().all(|line| line.width() <= width), "{shown}");
            for part in [
                "codex asks for a lease",
                "prod/TOKEN",
                "version 3",
                "15 min",
                "20 uses",
                "held by",
                "words",
                "larger terminal",
            ] {
                let flat = shown.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
                assert!(flat.contains(part), "{part} at {width}x{height} in\n{shown}");
            }
        }
    }

    #[test]
    fn a_screen_too_small_for_what_must_be_seen_shows_nothing() {
        let mut lease = sample();
        let card = lease_card(&lease);
        let least = card.least_height(40, plain_screen());
        assert!(card.lines(40, least, plain_screen()).is_some());
        assert_eq!(card.lines(40, least - 1, plain_screen()), None);
        assert_eq!(card.lines(39, 100, plain_screen()), None);
        lease.grants = vec![lease.grants[0].clone(); 30];
        assert_eq!(lease_card(&lease).lines(80, 22, plain_screen()), None);
    }

    #[test]
    fn a_lease_of_one_secret_fits_ten_rows_of_40_columns_with_the_longest_words() {
        let ui = plain_screen();
        let mut rows = lease_card(&sample()).rows;
        rows.retain(|row| row.label != "words");
        strong(&mut rows, "words", ["abstract"; 4].join("  "));
        // Two more are redrawn below it.
        assert!(Card { rows, given: "" }.least_height(40, ui) <= 8);
    }

    #[test]
    fn a_screen_without_colours_gets_none() {
        let card = lease_card(&sample());
        let lines = |ui| card.lines(80, 24, ui).unwrap().concat();
        assert!(!lines(Ui::new(false, true)).contains('\u{1b}'));
        assert!(lines(Ui::new(false, false)).contains('\u{1b}'));
    }

    #[test]
    fn a_card_names_who_what_how_long_and_the_words() {
        let fixed = sample().fix().unwrap();
        let card = Card::of(&view(fixed.text()), &TimeZone::UTC).unwrap();
        let shown = card.lines(100, 40, plain_screen()).unwrap().join("\n");
        for part in [
            "codex",
            "pid 4711, uid 1000",
            "deploy: Deploy the docs",
            "prod/TOKEN",
            "version 3",
            "15 min from the touch, or 20 uses, whichever ends first",
            "until 2027-01-15 08:15:00 UTC at the latest",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(shown.contains(&fixed.words().join("  ")));
    }

    #[test]
    fn t09_that_a_lease_signs_as_often_as_time_allows_is_seen_on_the_smallest_screen_too() {
        let mut lease = sample();
        lease.grants[0].via = super::Via::Signer;
        lease.grants[0].signature = Some(signers::tests::signature());
        lease.ttl = 300;
        let shown = |lease: &LeaseText, width, height: &dyn Fn(&Card) -> usize| {
            let card = lease_card(lease);
            let shown = card.lines(width, height(&card), plain_screen()).unwrap().join("\n");
            shown.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        };
        let smallest = |card: &Card| card.least_height(40, plain_screen());
        lease.uses = Some(2);
        assert!(shown(&lease, 40, &smallest).contains("and 1 MORE in that namespace that nobody has seen yet"));
        lease.uses = None;
        let small = shown(&lease, 40, &smallest);
        for part in [
            "5 min, any number of signatures",
            "and ANY NUMBER MORE in that namespace that nobody has seen yet",
        ] {
            assert!(small.contains(part), "{part} in {small}");
        }
        let large = shown(&lease, 120, &|_| 60);
        assert!(
            large.contains("5 min from the touch, and any number of signatures until then"),
            "{large}"
        );
        // Of one that gives something else nothing is said that is not so.
        assert!(signers::signs_any(&LeaseText { uses: None, ..sample() }).is_none());
    }

    #[test]
    fn t28_the_task_that_a_token_names_is_seen_on_the_smallest_screen_too() {
        let mut lease = sample();
        let shown = |lease: &LeaseText| {
            let card = lease_card(lease);
            card.lines(40, card.least_height(40, plain_screen()), plain_screen())
                .unwrap()
                .join("\n")
        };
        assert!(!shown(&lease).contains("task = "));
        lease.grants[0].via = super::Via::Signer;
        lease.grants[0].token = Some(signers::tests::token());
        assert!(shown(&lease).contains("task = deploy"), "{}", shown(&lease));
    }

    #[test]
    fn t10_what_is_asked_at_another_terminal_says_so_on_every_size() {
        let mut view = view(sample().fix().unwrap().text());
        view.elsewhere = Some("pts/7".into());
        let card = Card::of(&view, &TimeZone::UTC).unwrap();
        for (width, height) in [(100, 40), (80, 24), (40, card.least_height(40, plain_screen()))] {
            let lines = card.lines(width, height, plain_screen()).unwrap();
            assert!(
                lines[0].contains("who") && lines.concat().contains("another terminal, pts/7"),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_was_given_is_said_by_its_name() {
        let requester = sample().origin.requester;
        let unlock = UnlockText {
            v: VERSION,
            kind: UnlockKind::Unlock,
            id: "a".repeat(32),
            requester: requester.clone(),
            key: "blue".into(),
            keep: 3600,
        };
        let enrol = |scopes: &[&str], touches| EnrolText {
            v: VERSION,
            kind: EnrolKind::Enrol,
            id: "a".repeat(32),
            requester: requester.clone(),
            key: "spare".into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            touches,
            recovers: None,
            card: None,
            signer: None,
        };
        let card = |text: &str| Card::of(&view(text), &TimeZone::UTC).unwrap();
        assert_eq!(lease_card(&sample()).given(), "approved");
        assert_eq!(card(unlock.fix().unwrap().text()).given(), "PIN kept");
        let said = |enrol: EnrolText| {
            let card = card(enrol.fix().unwrap().text());
            assert_eq!(card.given(), "touched");
            card.lines(200, 40, plain_screen()).unwrap().join("\n")
        };
        let two = said(enrol(&["prod", "dev"], 3));
        assert!(
            two.contains("touch it 3 times") && two.contains("1 more is for what changes") && two.contains("4 in all"),
            "{two}"
        );
        let three = said(enrol(&["prod", "dev", "web"], 4));
        assert!(
            three.contains("touch it 4 times") && three.contains("more are for") && !three.contains("in all"),
            "{three}"
        );
    }

    #[test]
    fn p2_what_becomes_of_a_yubikey_is_said_on_the_smallest_screen_too() {
        let [sign, open] = [0x94, 0x95].map(|slot| crate::device::enrolled::Retired::all().find(|one| one.reference() == slot).unwrap());
        let enrol = |overwrites, factory| EnrolText {
            v: VERSION,
            kind: EnrolKind::Enrol,
            id: "a".repeat(32),
            requester: sample().origin.requester,
            key: "spare".into(),
            scopes: vec!["prod".into()],
            touches: 2,
            recovers: None,
            card: Some(CardText {
                serial: 24_036_003,
                slots: vec![open, sign],
                overwrites,
                factory,
            }),
            signer: None,
        };
        let shown = |enrol: EnrolText| {
            let card = Card::of(&view(enrol.fix().unwrap().text()), &TimeZone::UTC).unwrap();
            let least = card.least_height(NARROWEST, plain_screen());
            let lines = card.lines(NARROWEST, least, plain_screen()).unwrap();
            lines.join(" ").split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        };
        let all = vec![FactoryText::Pin, FactoryText::Puk, FactoryText::ManagementKey];
        let from_the_factory = shown(enrol(vec![], all));
        for part in [
            "YubiKey 24036003: a new key in its slot 95, to open, and one in its slot 94, to sign",
            "what is still the factory's: its PIN, its PUK, its management key",
            "by typing its new PIN; nothing on it is changed before",
        ] {
            assert!(from_the_factory.contains(part), "{from_the_factory}");
        }
        assert!(!from_the_factory.contains("LOSES"), "{from_the_factory}");
        let used = shown(enrol(vec![open, sign], vec![]));
        for part in [
            "LOSES the key that is in its slot 95, and the one in its slot 94, with what it opens",
            "by typing its PIN; nothing",
        ] {
            assert!(used.contains(part), "{used}");
        }
        assert!(!used.contains("factory"), "{used}");
    }

    #[test]
    fn a_text_that_is_not_canonical_has_no_card() {
        let text = sample().fix().unwrap().text().replacen(':', ": ", 1);
        assert_eq!(Card::of(&view(&text), &TimeZone::UTC), None);
    }

    #[test]
    fn t10_nothing_runs_off_the_screen() {
        let lease = LeaseText {
            reason: Some("x".repeat(500)),
            ..sample()
        };
        let card = Card::of(&view(lease.fix().unwrap().text()), &TimeZone::UTC).unwrap();
        for line in card.lines(60, 60, plain_screen()).unwrap() {
            assert!(line.width() <= 60, "{line}");
        }
    }

    #[test]
    fn durations_are_said_in_words() {
        assert_eq!(
            [duration(0), duration(90), duration(900), duration(5400)],
            ["0 s", "1 min 30 s", "15 min", "1 h 30 min"]
        );
    }
}
