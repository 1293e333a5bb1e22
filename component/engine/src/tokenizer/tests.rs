//! A limit of tokens bounds the work, and changes no token.

use proptest::prelude::*;

use super::added::AddedToken;
use super::bpe::Merges;
use super::output::LONG_PIECE;
use super::split::Split;
use super::*;

/// Byte-level BPE with tokens of up to 32 bytes, made of one letter, of spaces or of newlines; some
/// added tokens.
fn tokenizer(nfc: bool, swallow: bool, alphabet: bool) -> Tokenizer {
    let mut vocab = Vocab::default();
    for byte in 0..=255u8 {
        let kind = if byte == b'#' && !alphabet {
            Kind::Unused
        } else {
            Kind::Normal
        };
        vocab.push(&[byte], kind).unwrap();
    }
    let mut rules = Vec::new();
    for letter in ["a", " ", "\n", "ab", "é"] {
        let mut text = letter.to_owned();
        if letter.len() == 2 {
            rules.push((
                letter[..].as_bytes()[..1].to_vec(),
                letter.as_bytes()[1..].to_vec(),
            ));
            vocab.push(text.as_bytes(), Kind::Normal).unwrap();
        }
        while text.len() < 32 {
            rules.push((text.clone().into_bytes(), text.clone().into_bytes()));
            text = text.repeat(2);
            vocab.push(text.as_bytes(), Kind::Normal).unwrap();
        }
    }
    let mut added = Vec::new();
    for (text, special) in [("<end>", true), ("<mark>", false)] {
        let kind = if special {
            Kind::Control
        } else {
            Kind::UserDefined
        };
        added.push(AddedToken {
            id: vocab.len() as u32,
            text: text.into(),
            special,
            lstrip: swallow,
            rstrip: swallow,
            single_word: false,
        });
        vocab.push(text.as_bytes(), kind).unwrap();
    }
    vocab.index(|_| true);
    let mut merges = Merges::with_capacity(rules.len());
    for (left, right) in rules {
        let id = |bytes: &[u8]| vocab.id_of(bytes).unwrap();
        merges.push(
            id(&left),
            id(&right),
            id(&[left.clone(), right.clone()].concat()),
        );
    }
    let byte_without_token = |id: u32| alphabet || id != u32::from(b'#');
    vocab.index(byte_without_token);
    let bpe = ByteBpe::new(&vocab, merges, Split::LLAMA3, true, None);
    Tokenizer::build(Parts {
        vocab,
        added,
        added_normalized: Vec::new(),
        normal: Normal::nfc(nfc),
        model: Model::Bytes(bpe),
        around: Around::default(),
        lead: Lead::Kept,
    })
}

/// Nothing that is sent costs more than the context does: so many symbols merged for each token
/// there is room for.
#[test]
fn the_work_follows_from_the_limit_and_not_from_the_text() {
    const ROOM: usize = 50;
    let tokenizer = tokenizer(true, true, true);
    for pattern in [
        "a",
        " ",
        "\n",
        "\t",
        "😀",
        "é",
        "e\u{301}",
        "\u{301}",
        "1",
        "ab",
        "x",
        "a b ",
        "word, ",
        "<end>",
        "<end",
        "<mark> ",
        "\u{FDD0}",
        " \n",
        "' ",
        "\u{1112}\u{1161}\u{11ab}",
        "\0",
    ] {
        let text = pattern.repeat((1 << 18) / pattern.len());
        for guarded in [false, true] {
            let text = if guarded {
                tokenizer.guard(&text)
            } else {
                text.clone()
            };
            let scratch = Scratch::default();
            let (encoded, scratch) = tokenizer.encode_parts(&text, true, guarded, ROOM, scratch);
            let TooMany(least) = encoded.unwrap().unwrap_err();
            assert!(least > ROOM, "{pattern:?}: {least}");
            assert!(
                scratch.merged <= 32 * ROOM + LONG_PIECE,
                "{pattern:?}: {} merged",
                scratch.merged
            );
        }
    }
}

proptest! {
    #[test]
    fn what_fits_is_what_it_would_be_and_what_does_not_is_not_overstated(
        parts in prop::collection::vec((
            prop::sample::select(vec![
                "a", "ab", " ", "\n", "é", "e\u{301}", "<end>", "<mark>", "<e", "#", "\u{FDD0}", "\u{212a}", "word", "1234",
                "\u{1112}\u{1161}\u{11ab}",
            ]),
            prop_oneof![1usize..4, 1usize..300],
        ), 0..12),
        flags in any::<[bool; 5]>(),
        less in 0usize..3,
    ) {
        let [nfc, swallow, alphabet, special, guarded] = flags;
        let tokenizer = tokenizer(nfc, swallow, alphabet);
        let text: String = parts.iter().map(|(part, times)| part.repeat(*times)).collect();
        let text = if guarded { tokenizer.guard(&text) } else { text };
        let encode = |most| {
            tokenizer.encode_parts(&text, special, guarded, most, Scratch::default()).0.unwrap()
        };
        let whole = encode(usize::MAX).unwrap();
        prop_assert_eq!(encode(whole.len()), Ok(whole.clone()));
        for most in [whole.len().saturating_sub(1 + less), whole.len() / 7, 0] {
            match encode(most) {
                Ok(tokens) => prop_assert_eq!(&tokens, &whole),
                Err(TooMany(least)) => prop_assert!(most < least && least <= whole.len()),
            }
            prop_assert_eq!(encode(most).is_ok(), whole.len() <= most);
        }
    }

    /// Pieces that are long enough to be measured before they are merged.
    #[test]
    fn long_pieces_are_never_refused_wrongly(
        runs in prop::collection::vec((prop::sample::select(vec!["a", "ab", "é", "x"]), 1usize..3000), 2..6),
    ) {
        let tokenizer = tokenizer(false, false, true);
        let text: String = runs.iter().map(|(part, times)| part.repeat(*times)).collect();
        let whole = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(tokenizer.encode_at_most(&text, false, whole.len()).unwrap(), Ok(whole));
    }
}
