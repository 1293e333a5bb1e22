//! Looks at a program before it goes into an image that has nothing else.

use std::path::Path;

use anyhow::{Context, bail};

/// The facts about its program that an image states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// As Go and OCI spell it.
    pub architecture: &'static str,
}

/// Program header that names the dynamic loader (`PT_INTERP`).
const INTERPRETER: u32 = 3;

impl Program {
    /// Check that the file runs where there is no other file.
    ///
    /// # Errors
    /// It cannot be read, is no 64-bit ELF program for x86-64 or AArch64, or is not static.
    pub fn read(path: &Path) -> anyhow::Result<Program> {
        let name = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let program =
            parse(&bytes).with_context(|| format!("{name} cannot be an image's program"))?;
        if program.1 {
            bail!(
                "{name} is linked dynamically, and the image holds no other file for it to load: build a static one with \
                 scripts/static.sh and name it with --host, or leave it out with --no-host for pods that the shim runs"
            );
        }
        Ok(program.0)
    }
}

/// The program, and whether it needs a loader (ELF-64, little-endian; System V ABI, chapter 5).
fn parse(bytes: &[u8]) -> anyhow::Result<(Program, bool)> {
    let short = "it is cut short";
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("it is no 64-bit ELF program");
    }
    let architecture = match number(bytes, 18, 2).context(short)? {
        62 => "amd64",
        183 => "arm64",
        other => bail!("it is for another machine (ELF machine {other}), not x86-64 or AArch64"),
    };
    let table = number(bytes, 32, 8).context(short)?;
    let (size, count) = (
        number(bytes, 54, 2).context(short)?,
        number(bytes, 56, 2).context(short)?,
    );
    let mut dynamic = false;
    for index in 0..count {
        let at = table.checked_add(index * size).context(short)?;
        dynamic |= number(bytes, at, 4).context(short)? == u64::from(INTERPRETER);
    }
    Ok((Program { architecture }, dynamic))
}

fn number(bytes: &[u8], at: u64, len: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_program_and_dynamic() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let (program, dynamic) = parse(&bytes).unwrap();
        let expected = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => panic!("{other}"),
        };
        assert_eq!(program.architecture, expected);
        assert_eq!(dynamic, !cfg!(target_feature = "crt-static"));
    }

    #[test]
    fn what_is_none_says_so() {
        let mut header = b"\x7fELF\x02\x01".to_vec();
        header.resize(64, 0);
        assert!(
            parse(&header)
                .unwrap_err()
                .to_string()
                .contains("ELF machine 0")
        );
        header[18] = 62;
        assert!(!parse(&header).unwrap().1);
        // One program header, far outside.
        header[56] = 1;
        header[32..40].fill(0xff);
        assert!(
            parse(&header)
                .unwrap_err()
                .to_string()
                .contains("cut short")
        );
        assert!(parse(b"#!/bin/sh").is_err());
        assert!(parse(&header[..20]).is_err());
    }
}
