//! The machine code that wasmtime makes of the kernels' inner loops, against golden files.
//!
//! Compiled for one fixed CPU (x86-64 with AVX2), so it is the same on every machine, and with the
//! interruption of busy guests that serving runtimes use: its check stands in each turn and may
//! cost registers. A loop must hold exactly the golden file's vector instructions, in any order,
//! and no more of the others. So it fails where a sum or an activation is spilled to the stack, a
//! constant is loaded again in every turn, or a mask or shift is added; a compiler that names other
//! registers or sorts the loads differently does not matter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use wasmtime::{Config, Engine};

use crate::support::component;

const BLESS: &str = "STERNA_BLESS=1 scripts/cargo-test.sh -p sterna --test e2e -- inner_loops";

/// The features of a CPU with AVX2, as Cranelift names them.
const AVX2: [&str; 10] = [
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

/// A loop, known by how often a turn has some instructions. A turn may be several steps
/// (kernels/src/isa/simd128/turns.rs).
struct Loop {
    /// Its golden file.
    name: &'static str,
    component: &'static str,
    has: &'static [(Mnemonic, usize)],
    /// The number of the component's loops of this kind. Each is compared.
    number: usize,
}

const LOOPS: [Loop; 6] = [
    Loop {
        name: "decode_relaxed",
        component: "kernel_checks-relaxed.wasm",
        has: &[(Mnemonic::Vpmaddubsw, 10 * 16), (Mnemonic::Vpsrlw, 10 * 4)],
        number: 1,
    },
    Loop {
        name: "decode_plain",
        component: "kernel_checks.wasm",
        has: &[(Mnemonic::Vpmaddwd, 8), (Mnemonic::Vpmovzxbw, 2)],
        number: 1,
    },
    Loop {
        name: "prefill_relaxed",
        component: "kernel_checks-relaxed.wasm",
        has: &[(Mnemonic::Vpmaddubsw, 5 * 8), (Mnemonic::Vpsrlw, 0)],
        number: 1,
    },
    // The ternary one and that of several tokens against Q6_K.
    Loop {
        name: "prefill_plain",
        component: "kernel_checks.wasm",
        has: &[(Mnemonic::Vpmaddwd, 5 * 8), (Mnemonic::Vpmovzxbw, 0)],
        number: 2,
    },
    Loop {
        name: "head_q6_k",
        component: "kernel_checks.wasm",
        has: &[(Mnemonic::Vpmaddwd, 8), (Mnemonic::Vpmulld, 4)],
        number: 2,
    },
    Loop {
        name: "head_q6_k_relaxed",
        component: "kernel_checks-relaxed.wasm",
        has: &[(Mnemonic::Vpmaddubsw, 4 * 32), (Mnemonic::Vpmaddwd, 4 * 48)],
        number: 1,
    },
];

#[test]
fn inner_loops_are_as_tight_as_their_golden_files() {
    if cfg!(not(target_arch = "x86_64")) {
        println!(
            "not tested here: this build of wasmtime compiles for its own architecture only, and that is not x86-64"
        );
        return;
    }
    let mut code = BTreeMap::new();
    let mut faults = String::new();
    for wanted in &LOOPS {
        let code = code
            .entry(wanted.component)
            .or_insert_with(|| compile(&component(wanted.component)));
        let found = find(code, wanted.has);
        if found.len() != wanted.number {
            faults += &format!(
                "{}: {} innermost loops of {} have {:?}, not {}; was one unrolled, or its tile changed? Look at \
                 kernels/src/isa/simd128/ and at LOOPS in this test\n",
                wanted.name,
                found.len(),
                wanted.component,
                wanted.has,
                wanted.number
            );
            continue;
        }
        let found = found.into_iter().enumerate();
        for (which, body) in found {
            let name = match which {
                0 => wanted.name.to_owned(),
                _ => format!("{}_{}", wanted.name, which + 1),
            };
            faults += &against_golden(&name, body);
        }
    }
    assert!(
        faults.is_empty(),
        "{faults}\nLook for [stack] (registers ran out), for [const] (a constant is read in each turn) and for more \
         instructions than before; then measure with kernels/examples/gemv_speed.rs in wasm. If the new code is as \
         good, accept it with\n    {BLESS}\n"
    );
}

/// The differences between a loop and its golden file, in both directions.
fn against_golden(name: &str, body: &[Instruction]) -> String {
    let now: Vec<String> = body.iter().map(kind).collect();
    let path = golden(name);
    if std::env::var_os("STERNA_BLESS").is_some() {
        std::fs::write(&path, now.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; make it with {BLESS}", path.display()));
    let golden: Vec<String> = golden.lines().map(str::to_owned).collect();
    let faults = compare(&golden, &now);
    faults
        .iter()
        .map(|fault| format!("{name}: {fault}\n"))
        .collect()
}

/// The instructions that have come or gone: vector instructions exactly, others by number.
fn compare(golden: &[String], now: &[String]) -> Vec<String> {
    let mut difference = BTreeMap::new();
    let vector = |line: &&String| line.contains("xmm");
    for line in golden.iter().filter(vector) {
        *difference.entry(line).or_insert(0) -= 1;
    }
    for line in now.iter().filter(vector) {
        *difference.entry(line).or_insert(0) += 1;
    }
    let others = |lines: &[String]| lines.iter().filter(|line| !vector(line)).count();
    let mut faults: Vec<String> = difference
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(line, count)| format!("{count:+} x {line}"))
        .collect();
    if others(now) > others(golden) {
        faults.push(format!(
            "{} instructions that compute addresses and count, {} before",
            others(now),
            others(golden)
        ));
    }
    faults
}

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/golden");
    folder.join(name).with_extension("txt")
}

/// All instructions of a component, compiled as runtimes do that interrupt busy guests.
fn compile(wasm: &[u8]) -> Vec<Instruction> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.target("x86_64-unknown-linux-gnu").unwrap();
    for flag in AVX2 {
        // SAFETY: the code is read here and never run.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    let compiled = Engine::new(&config)
        .unwrap()
        .precompile_component(wasm)
        .unwrap();
    Decoder::with_ip(64, text(&compiled), 0, DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// The section `.text` of an ELF file.
fn text(elf: &[u8]) -> &[u8] {
    let number = |at: usize, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&elf[at..at + bytes]);
        usize::try_from(u64::from_le_bytes(number)).unwrap()
    };
    let (table, size, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let section = |index: usize| table + index * size;
    let names = number(section(number(0x3e, 2)) + 0x18, 8);
    (0..count)
        .map(section)
        .find(|header| elf[names + number(*header, 4)..].starts_with(b".text\0"))
        .map(|header| &elf[number(header + 0x18, 8)..][..number(header + 0x20, 8)])
        .expect("wasmtime writes its code as an ELF file")
}

/// The stretches between a backward jump's target and the jump that have these instructions exactly
/// so often and no other such stretch inside, the shortest first.
fn find<'a>(code: &'a [Instruction], has: &[(Mnemonic, usize)]) -> Vec<&'a [Instruction]> {
    let mut bodies: Vec<_> = code
        .iter()
        .enumerate()
        .filter_map(|(end, jump)| {
            let jumps = matches!(
                jump.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            );
            let target = jump.near_branch_target();
            if !jumps || target >= jump.ip() {
                return None;
            }
            let start = code.binary_search_by_key(&target, Instruction::ip).ok()?;
            Some(start..end + 1)
        })
        .filter(|body| {
            has.iter().all(|(mnemonic, count)| {
                let found = code[body.clone()].iter();
                found.filter(|i| i.mnemonic() == *mnemonic).count() == *count
            })
        })
        .collect();
    bodies.sort_by_key(|body| (body.len(), body.start));
    let mut innermost: Vec<std::ops::Range<usize>> = Vec::new();
    for body in bodies {
        let holds =
            |inner: &std::ops::Range<usize>| inner.start < body.end && body.start < inner.end;
        if !innermost.iter().any(holds) {
            innermost.push(body);
        }
    }
    innermost.into_iter().map(|body| &code[body]).collect()
}

/// An instruction with the kinds of its operands in place of registers and addresses.
fn kind(instruction: &Instruction) -> String {
    let mnemonic = format!("{:?}", instruction.mnemonic()).to_lowercase();
    let operands = (0..instruction.op_count()).map(|i| match instruction.op_kind(i) {
        OpKind::Register => register(instruction.op_register(i)).to_owned(),
        OpKind::Memory => memory(instruction).to_owned(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => "target".to_owned(),
        _ if mnemonic.starts_with('v') => format!("{:#x}", instruction.immediate(i)),
        _ => "number".to_owned(),
    });
    let operands: Vec<String> = operands.collect();
    format!("{mnemonic} {}", operands.join(", "))
        .trim_end()
        .to_owned()
}

fn register(register: Register) -> &'static str {
    match register {
        _ if register.is_xmm() => "xmm",
        _ if register.is_gpr64() => "r64",
        _ => "r32",
    }
}

fn memory(instruction: &Instruction) -> &'static str {
    match instruction.memory_base() {
        Register::RSP | Register::RBP => "[stack]",
        Register::RIP => "[const]",
        _ => "[memory]",
    }
}

#[test]
fn a_spill_or_a_longer_loop_is_a_fault() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let golden = lines("vpaddw xmm, xmm, xmm\nvmovdqu xmm, [memory]\nadd r32, number\njne target");
    let sorted = lines("vmovdqu xmm, [memory]\nvpaddw xmm, xmm, xmm\nadd r32, number\njne target");
    assert!(compare(&golden, &sorted).is_empty());
    let spilled = lines("vpaddw xmm, xmm, xmm\nvmovdqu xmm, [stack]\nadd r32, number\njne target");
    assert_eq!(
        compare(&golden, &spilled),
        ["-1 x vmovdqu xmm, [memory]", "+1 x vmovdqu xmm, [stack]"]
    );
    let longer = [golden.clone(), lines("lea r32, [memory]")].concat();
    assert_eq!(compare(&golden, &longer).len(), 1);
    assert!(compare(&longer, &golden).is_empty());
}
