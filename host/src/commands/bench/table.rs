//! A benchmark's report for people.

use std::fmt::{self, Display, Formatter};

use sterna_engine::bench::{BenchReport, Machine, Spread};

/// Prints as a few lines of text.
pub(super) struct Table<'a>(pub(super) &'a BenchReport);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(
            f,
            "{} ({:.2} G parameters, head {}, layers {}) on {}, {} threads, {} at a time, {} repetitions",
            report.model,
            report.parameters as f64 / 1e9,
            report.head,
            report.layout,
            report.isa,
            report.threads,
            report.batch,
            report.reps,
        )?;
        if !report.without.is_empty() {
            writeln!(f, "without {}", report.without.join(", "))?;
        }
        if let Some([huge, all]) = report.huge_pages {
            let (huge, all) = (huge as f64 / 1e6, all as f64 / 1e6);
            writeln!(f, "{huge:.0} of {all:.0} MB of weights are in 2 MiB pages")?;
        }
        writeln!(f, "{:<22} {:>10} {:>10} {:>10}", "", "median", "min", "max")?;
        let prefill = &report.prefill;
        let rate = |median, min, max| Spread { median, min, max };
        row(
            f,
            &format!("pp{} tokens/s", report.prompt),
            rate(
                prefill.tokens_per_s,
                prefill.tokens_per_s_min,
                prefill.tokens_per_s_max,
            ),
        )?;
        if let Some(decode) = &report.decode {
            row(
                f,
                &format!("tg{} tokens/s", report.generate),
                rate(
                    decode.tokens_per_s,
                    decode.tokens_per_s_min,
                    decode.tokens_per_s_max,
                ),
            )?;
        }
        if let Some(machine) = &report.machine {
            limits(f, machine)?;
        }
        writeln!(
            f,
            "prefill multiplies {:.1} G a second{}, {:.2} G a token",
            prefill.gmac_per_s,
            of(prefill.share_of_int8_peak, "the int8 peak"),
            prefill.multiply_adds_per_token as f64 / 1e9,
        )?;
        for drafting in &report.speculation {
            writeln!(
                f,
                "drafts in a {} text: {:.2} times as fast ({:.2} to {:.2} tokens/s); {} tokens, {} drafted, {} right",
                drafting.text,
                drafting.times,
                drafting.tokens_per_s_without.median,
                drafting.tokens_per_s.median,
                drafting.generated,
                drafting.drafted,
                drafting.accepted,
            )?;
        }
        let Some(decode) = &report.decode else {
            return Ok(());
        };
        writeln!(
            f,
            "decode reads {:.2} GB/s{}, {:.1} MB a step{}, and multiplies {:.1} G a second",
            decode.gb_per_s,
            of(
                decode.share_of_read_bandwidth,
                &format!(
                    "the read bandwidth in {} pages",
                    report.machine.as_ref().map_or("?", Machine::read_pages)
                )
            ),
            decode.bytes_per_token as f64 / 1e6,
            match decode.skipped_bytes_per_token {
                0 => String::new(),
                skipped => format!(" ({:.1} MB more left out for zeros)", skipped as f64 / 1e6),
            },
            decode.gmac_per_s,
        )?;
        if let (Some(one), Some(times)) =
            (decode.one_sequence_tokens_per_s, decode.times_one_sequence)
        {
            writeln!(
                f,
                "{} sequences are {times:.2} times as fast as one ({one:.2} tokens/s)",
                report.batch
            )?;
        }
        Ok(())
    }
}

fn limits(f: &mut Formatter<'_>, machine: &Machine) -> fmt::Result {
    let threads = machine.threads;
    let name = |what: &str| format!("{what}, {threads} thr.");
    row(f, &name("read 4K GB/s"), machine.read_gb_per_s_4k)?;
    if let Some(read) = machine.read_gb_per_s_2m {
        row(f, &name("read 2M GB/s"), read)?;
    }
    row(f, &name("int8 GMAC/s"), machine.int8_gmac_per_s)
}

fn row(f: &mut Formatter<'_>, name: &str, spread: Spread) -> fmt::Result {
    let Spread { median, min, max } = spread;
    writeln!(f, "{name:<22} {median:>10.2} {min:>10.2} {max:>10.2}")
}

fn of(share: Option<f64>, limit: &str) -> String {
    share.map_or_else(String::new, |share| {
        format!(" ({:.0} % of {limit})", share * 100.0)
    })
}
