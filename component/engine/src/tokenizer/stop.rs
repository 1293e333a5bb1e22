//! Stop texts in a stream: nothing that may belong to one is shown before it is known.

use std::ops::Range;

/// Looks for stop texts in text that comes in pieces. The stop text that is complete first ends the
/// text before its first character, or after its last; of several complete at the same character,
/// the longest. How the text is cut into pieces changes nothing.
///
/// Some of the text may be hidden: the names of special tokens, which are never shown. A stop text
/// may hold such names whole, but never begins or ends inside one.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    /// The end of the text so far, where a stop text may have begun.
    held: String,
    /// The parts of `held` that are hidden, in order.
    hidden: Vec<Range<usize>>,
    stopped: bool,
    /// The stop text is shown too.
    including: bool,
}

/// The result of one piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStep {
    /// Text that can be shown.
    pub text: String,
    /// A stop text was found; `text` is the last.
    pub stopped: bool,
}

impl StopStep {
    /// Add what the next piece of the same text led to.
    pub fn then(&mut self, next: StopStep) {
        self.text += &next.text;
        self.stopped = next.stopped;
    }
}

/// One stop text, searched by Knuth, Morris and Pratt's method.
#[derive(Clone, Debug)]
struct Stop {
    text: Box<[u8]>,
    /// `border[n]`: length of the longest proper prefix of `text[..=n]` that is also its suffix.
    border: Box<[usize]>,
    /// The number of bytes of `text` that the text so far ends with.
    matched: usize,
}

impl Stop {
    fn new(text: &str) -> Self {
        let text: Box<[u8]> = text.as_bytes().into();
        let mut border = vec![0; text.len()];
        for n in 1..text.len() {
            border[n] = extend(&text, &border, border[n - 1], text[n]);
        }
        Stop {
            text,
            border: border.into(),
            matched: 0,
        }
    }

    /// Take the next byte; true if the stop text is complete.
    fn advance(&mut self, byte: u8) -> bool {
        self.matched = extend(&self.text, &self.border, self.matched, byte);
        let complete = self.matched == self.text.len();
        if complete {
            // It may begin again inside of itself.
            self.matched = self.border[self.matched - 1];
        }
        complete
    }
}

/// The longest prefix of `text` that a text ends with after `byte`, if it ended with `matched`
/// bytes before.
fn extend(text: &[u8], border: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && text[matched] != byte {
        matched = border[matched - 1];
    }
    if text[matched] == byte {
        matched + 1
    } else {
        0
    }
}

/// True if `at` lies between two bytes of one hidden part.
fn is_inside(hidden: &[Range<usize>], at: usize) -> bool {
    hidden
        .iter()
        .any(|hidden| hidden.start < at && at < hidden.end)
}

impl StopMatcher {
    /// A matcher at the beginning of a text. Empty stop texts are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| Stop::new(text))
            .collect();
        StopMatcher {
            stops,
            held: String::new(),
            hidden: Vec::new(),
            stopped: false,
            including: false,
        }
    }

    /// The same, which shows the stop text too where `including`.
    #[must_use]
    pub fn including(self, including: bool) -> Self {
        StopMatcher { including, ..self }
    }

    /// Take the name of a special token, which is searched and not shown.
    pub fn push_hidden(&mut self, name: &str) -> StopStep {
        if !self.stopped && !self.stops.is_empty() && !name.is_empty() {
            let start = self.held.len();
            self.hidden.push(start..start + name.len());
            return self.push(name);
        }
        StopStep {
            text: String::new(),
            stopped: self.stopped,
        }
    }

    /// Take the next piece of text. After a stop text was found, nothing is shown any more.
    pub fn push(&mut self, piece: &str) -> StopStep {
        if self.stopped {
            return StopStep {
                text: String::new(),
                stopped: true,
            };
        }
        self.held.push_str(piece);
        let before = self.held.len() - piece.len();
        for (at, byte) in piece.bytes().enumerate() {
            let end = before + at + 1;
            let hidden = &self.hidden;
            let complete = self
                .stops
                .iter_mut()
                .filter_map(|stop| stop.advance(byte).then_some(stop.text.len()))
                .filter(|length| !is_inside(hidden, end - length) && !is_inside(hidden, end))
                .max();
            if let Some(length) = complete {
                self.stopped = true;
                let mut text = self.release(end - length);
                if self.including {
                    text += &self.held[..length];
                }
                self.held.clear();
                self.hidden.clear();
                return StopStep {
                    text,
                    stopped: true,
                };
            }
        }
        // A match begins with a character's first byte, so this is a character's boundary.
        let kept = self
            .stops
            .iter()
            .map(|stop| stop.matched)
            .max()
            .unwrap_or(0);
        StopStep {
            text: self.release(self.held.len() - kept),
            stopped: false,
        }
    }

    /// End the text: what was held back is no stop text.
    pub fn finish(&mut self) -> String {
        for stop in &mut self.stops {
            stop.matched = 0;
        }
        self.release(self.held.len())
    }

    /// The visible part of the first `end` bytes held back, which are held no longer. A hidden part
    /// that ends after them stays whole, so that its bounds are known.
    fn release(&mut self, end: usize) -> String {
        let cut = self.hidden.iter().find(|hidden| hidden.end > end);
        let end = cut.map_or(end, |hidden| hidden.start.min(end));
        let rest = self.held.split_off(end);
        let mut text = std::mem::replace(&mut self.held, rest);
        if self.hidden.is_empty() {
            return text;
        }
        let (gone, mut left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.hidden)
            .into_iter()
            .partition(|hidden| hidden.end <= end);
        for hidden in gone.into_iter().rev() {
            text.replace_range(hidden, "");
        }
        for hidden in &mut left {
            *hidden = hidden.start - end..hidden.end - end;
        }
        self.hidden = left;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the shortest beginning of `text` that ends with a stop text, without the
    /// longest such.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        let boundaries = text.char_indices().map(|(at, c)| at + c.len_utf8());
        for end in boundaries {
            let ending = stops
                .iter()
                .filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
            if let Some(length) = ending.map(String::len).max() {
                return (text[..end - length].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    fn streamed(stops: &[String], pieces: &[String]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops);
        let mut text = String::new();
        let mut stopped = false;
        for piece in pieces {
            let step = matcher.push(piece);
            assert!(!stopped || (step.stopped && step.text.is_empty()));
            stopped = step.stopped;
            text.push_str(&step.text);
        }
        text.push_str(&matcher.finish());
        (text, stopped)
    }

    /// The definition with hidden pieces: as [`naive`] of the whole text, save that a stop text
    /// neither begins nor ends inside a hidden piece, and that hidden pieces are not shown.
    fn naive_hidden(stops: &[String], pieces: &[(String, bool)]) -> (String, bool) {
        let (mut whole, mut shown) = (String::new(), Vec::new());
        let mut inside = Vec::new();
        for (piece, hidden) in pieces {
            shown.extend(piece.bytes().map(|_| !hidden));
            inside.extend((0..piece.len()).map(|at| *hidden && at > 0));
            whole.push_str(piece);
        }
        inside.push(false);
        let visible = |end: usize| {
            let bytes = whole.bytes().zip(&shown).take(end);
            let bytes = bytes.filter_map(|(byte, shown)| shown.then_some(byte));
            String::from_utf8(bytes.collect()).unwrap()
        };
        for end in (1..=whole.len()).filter(|&end| !inside[end]) {
            let ending = stops
                .iter()
                .map(String::len)
                .zip(stops)
                .filter(|(length, stop)| {
                    *length > 0
                        && whole.as_bytes()[..end].ends_with(stop.as_bytes())
                        && !inside[end - length]
                });
            if let Some((length, _)) = ending.max() {
                return (visible(end - length), true);
            }
        }
        (visible(whole.len()), false)
    }

    proptest! {
        #[test]
        fn hidden_names_are_searched_and_not_shown(
            stops in prop::collection::vec("[ab<é>]{0,4}", 0..5),
            pieces in prop::collection::vec(("[ab<é>]{0,4}", any::<bool>()), 0..10),
        ) {
            let mut matcher = StopMatcher::new(&stops);
            let (mut text, mut stopped) = (String::new(), false);
            for (piece, hidden) in &pieces {
                let step = if *hidden { matcher.push_hidden(piece) } else { matcher.push(piece) };
                prop_assert!(!stopped || (step.stopped && step.text.is_empty()));
                stopped = step.stopped;
                text.push_str(&step.text);
            }
            if !stopped {
                text.push_str(&matcher.finish());
            }
            prop_assert_eq!((text, stopped), naive_hidden(&stops, &pieces));
        }

        #[test]
        fn equals_the_definition(
            stops in prop::collection::vec("[abéß😀]{0,4}", 0..5),
            pieces in prop::collection::vec("[abéß😀]{0,5}", 0..10),
        ) {
            prop_assert_eq!(streamed(&stops, &pieces), naive(&stops, &pieces.concat()));
        }
    }

    #[test]
    fn nothing_of_a_stop_text_is_shown() {
        let mut matcher = StopMatcher::new(&["\nUser:".into(), "END".into()]);
        let step = |text: &str, stopped| StopStep {
            text: text.into(),
            stopped,
        };
        assert_eq!(matcher.push("Hi\n"), step("Hi", false));
        assert_eq!(matcher.push("Us"), step("", false));
        assert_eq!(matcher.push("ual E"), step("\nUsual ", false));
        assert_eq!(matcher.push("N"), step("", false));
        assert_eq!(matcher.push("D, and more"), step("", true));
        assert_eq!(matcher.push("more"), step("", true));
        assert_eq!(matcher.finish(), "");
    }

    #[test]
    fn the_stop_text_is_shown_where_it_is_part_of_the_answer() {
        let mut matcher = StopMatcher::new(&["END".into()]).including(true);
        assert_eq!(matcher.push("the EN").text, "the ");
        let step = matcher.push("D, and more");
        assert_eq!((step.text.as_str(), step.stopped), ("END", true));
    }

    #[test]
    fn a_special_tokens_name_stops_whole_or_with_its_neighbours() {
        let mut matcher = StopMatcher::new(&["<end>".into(), "\n<turn>user".into(), "nd".into()]);
        assert_eq!(matcher.push("a nt\n").text, "a nt");
        // Its last letters are no stop text, and the line's end may yet be shown.
        assert!(!matcher.push_hidden("<turn>").stopped);
        assert_eq!(matcher.push("u").text, "");
        assert_eq!(matcher.push("p").text, "\nup");
        assert!(!matcher.push_hidden("<round>").stopped);
        assert_eq!(matcher.push("\n").text, "");
        let mut again = matcher.clone();
        let stopped = StopStep {
            text: String::new(),
            stopped: true,
        };
        again.push_hidden("<turn>");
        assert_eq!(again.push("user"), stopped);
        let step = matcher.push_hidden("<end>");
        assert_eq!(
            step,
            StopStep {
                text: "\n".into(),
                stopped: true
            }
        );
    }

    #[test]
    fn what_was_held_back_comes_at_the_end() {
        let mut matcher = StopMatcher::new(&["abc".into()]);
        assert_eq!(matcher.push("xab").text, "x");
        assert_eq!(matcher.finish(), "ab");
    }
}
