//! `'...' % values` and `'...'.format(values)`.

use super::args::Arguments;
use super::error::{Result, fail, shown};
use super::limits::{Budget, Text};
use super::value::Value;

/// The format of one value.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    align: Option<char>,
    /// The sign of a number that is not negative.
    plus: &'static str,
    alternate: bool,
    zero: bool,
    width: usize,
    comma: bool,
    precision: Option<usize>,
    kind: Option<char>,
}

/// Most digits after the point: more than any number has.
const MAX_PRECISION: usize = 100;

/// Digits at the start of `text` as a number, and what follows.
fn digits(text: &str) -> Result<(Option<usize>, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(number) => Ok((Some(number), rest)),
        Err(_) => fail(format!("a width of {}", shown(digits))),
    }
}

/// `pattern % values`: C's `printf`, as Python has it.
pub(super) fn percent(pattern: &str, values: &Value, budget: &Budget) -> Result<Value> {
    budget.read(pattern.len())?;
    let single = [values.clone()];
    let values = match values {
        Value::Tuple(values) => &values[..],
        _ => &single,
    };
    let mut next = values.iter();
    let mut out = Text::new(budget);
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        budget.work(1)?;
        out.push(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push("%")?;
            rest = after;
            continue;
        }
        let mut named = None;
        if let Some(after) = rest.strip_prefix('(') {
            let Some((name, after)) = after.split_once(')') else {
                return fail("a format without `)`");
            };
            let [Value::Dict(dict)] = values else {
                return fail("a format with a name wants a dict");
            };
            named = Some(dict.get_str(name).cloned().unwrap_or(Value::Undefined));
            rest = after;
        }
        let mut spec = Spec::default();
        while let Some(flag) = rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.plus = "+",
                ' ' if spec.plus.is_empty() => spec.plus = " ",
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                _ => {}
            }
            rest = &rest[1..];
        }
        let (width, after) = digits(rest)?;
        spec.width = width.unwrap_or(0);
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = digits(after)?;
            (spec.precision, rest) = (Some(precision.unwrap_or(0)), after);
        }
        let Some(kind) = rest.chars().next() else {
            return fail("a format ends after `%`");
        };
        rest = &rest[kind.len_utf8()..];
        let Some(value) = named.as_ref().or_else(|| next.next()) else {
            return fail("not enough arguments for format string");
        };
        let kind = if matches!(kind, 'i' | 'u') { 'd' } else { kind };
        spec.kind = Some(kind);
        spec.align = spec.align.or(Some('>'));
        let value = match (kind, value) {
            ('s' | 'c', value) => value.to_text(budget)?,
            ('r' | 'a', value) => repr(value, budget)?,
            ('d', Value::Float(number)) => Value::Int(*number as i64),
            (_, value) => value.clone(),
        };
        if matches!(kind, 's' | 'c' | 'r' | 'a') {
            spec.zero = false;
            spec.kind = None;
        }
        spec.write(&value, &mut out)?;
    }
    out.push(rest)?;
    if next.next().is_some() && values.len() > 1 {
        return fail("not all arguments converted during string formatting");
    }
    out.finish()
}

fn repr(value: &Value, budget: &Budget) -> Result<Value> {
    let mut out = Text::new(budget);
    value.write_repr(&mut out)?;
    out.finish()
}

/// `pattern.format(...)`
pub(super) fn braces(pattern: &str, args: Arguments, budget: &Budget) -> Result<Value> {
    let mut out = Text::new(budget);
    let mut rest = pattern;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        budget.work(1)?;
        out.push(&rest[..at])?;
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push(brace)?;
            rest = after;
            continue;
        }
        let field = rest.split_once('}').filter(|_| brace == "{");
        let Some((field, after)) = field else {
            return fail("single brace in a format string");
        };
        rest = after;
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = field.split_once('!').unwrap_or((field, ""));
        let (name, path) = match name.find(['.', '[']) {
            Some(at) => name.split_at(at),
            None => (name, ""),
        };
        let value = match digits(name)? {
            (Some(at), "") => args.positional.get(at),
            (None, "") => {
                next += 1;
                args.positional.get(next - 1)
            }
            _ => {
                let found = args.keyword.iter().find(|(own, _)| **own == *name);
                found.map(|(_, value)| value)
            }
        };
        let Some(value) = value else {
            return fail(format!("no value for `{{{}}}`", shown(name)));
        };
        let mut value = value.clone();
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            value = value.path(&part.into(), budget)?;
        }
        let value = match conversion {
            "" => value,
            "s" => value.to_text(budget)?,
            "r" | "a" => repr(&value, budget)?,
            other => return fail(format!("no conversion `!{}`", shown(other))),
        };
        Spec::parse(spec)?.write(&value, &mut out)?;
    }
    out.push(rest)?;
    out.finish()
}

impl Spec {
    /// Python's format specification: `[[fill]align][sign][#][0][width][,][.precision][type]`.
    fn parse(text: &str) -> Result<Spec> {
        let mut spec = Spec::default();
        let mut rest = text;
        let is_align = |c: Option<char>| c.filter(|c| "<>^=".contains(*c));
        let mut chars = text.chars();
        let (first, second) = (chars.next(), chars.next());
        if let (Some(fill), Some(align)) = (first, is_align(second)) {
            (spec.fill, spec.align) = (Some(fill), Some(align));
            rest = &rest[fill.len_utf8() + 1..];
        } else if let Some(align) = is_align(first) {
            spec.align = Some(align);
            rest = &rest[1..];
        }
        if let Some(after) = rest.strip_prefix(['+', '-', ' ']) {
            spec.plus = match rest.as_bytes().first() {
                Some(b'+') => "+",
                Some(b' ') => " ",
                _ => "",
            };
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('#') {
            (spec.alternate, rest) = (true, after);
        }
        if let Some(after) = rest.strip_prefix('0') {
            (spec.zero, rest) = (true, after);
        }
        let (width, after) = digits(rest)?;
        (spec.width, rest) = (width.unwrap_or(0), after);
        if let Some(after) = rest.strip_prefix(',') {
            (spec.comma, rest) = (true, after);
        }
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = digits(after)?;
            (spec.precision, rest) = (precision, after);
        }
        let mut kind = rest.chars();
        spec.kind = kind.next();
        if kind.next().is_some() {
            return fail(format!("no format `{}`", shown(text)));
        }
        Ok(spec)
    }

    fn write(&self, value: &Value, out: &mut Text<'_>) -> Result<()> {
        let (sign, body) = match (self.kind, value) {
            (None | Some('s'), Value::Str(text)) => {
                let text = match self.precision {
                    Some(most) => text
                        .char_indices()
                        .nth(most)
                        .map_or(&**text, |(at, _)| &text[..at]),
                    None => text,
                };
                return self.pad("", text, '<', out);
            }
            (None | Some('d' | 'n' | 'x' | 'X' | 'o' | 'b' | 'c'), Value::Int(number)) => {
                self.integer(*number)?
            }
            (Some('d' | 'x' | 'X' | 'o' | 'b'), Value::Bool(is)) => self.integer(i64::from(*is))?,
            (None, Value::Float(_)) | (Some('f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%' | 'n'), _) => {
                match value.number() {
                    Some(number) => self.float(number)?,
                    None => return self.unfit(value),
                }
            }
            (None, value) => {
                let text = value.to_text(out.budget)?;
                return self.pad("", text.as_str()?, '<', out);
            }
            (Some(_), value) => return self.unfit(value),
        };
        let sign = if sign { "-" } else { self.plus };
        self.pad(sign, &body, '>', out)
    }

    fn unfit<T>(&self, value: &Value) -> Result<T> {
        fail(format!(
            "format `{}` does not take {}",
            self.kind.unwrap_or('s'),
            value.type_name()
        ))
    }

    /// The sign, true if negative, and the digits.
    fn integer(&self, number: i64) -> Result<(bool, String)> {
        let magnitude = number.unsigned_abs();
        let digits = match self.kind {
            Some('x') if self.alternate => format!("0x{magnitude:x}"),
            Some('x') => format!("{magnitude:x}"),
            Some('X') => format!("{magnitude:X}"),
            Some('o') => format!("{magnitude:o}"),
            Some('b') => format!("{magnitude:b}"),
            Some('c') => match u32::try_from(number).ok().and_then(char::from_u32) {
                Some(c) => c.to_string(),
                None => return fail("the number is no character"),
            },
            _ => self.grouped(&magnitude.to_string()),
        };
        Ok((number < 0, digits))
    }

    fn float(&self, number: f64) -> Result<(bool, String)> {
        let magnitude = number.abs();
        let precision = self.precision.unwrap_or(6);
        if precision > MAX_PRECISION {
            return fail(format!(
                "a precision of {precision} digits; at most {MAX_PRECISION}"
            ));
        }
        let text = match self.kind {
            Some('f' | 'F') => self.grouped(&format!("{magnitude:.precision$}")),
            Some('%') => format!("{:.precision$}%", magnitude * 100.0),
            Some('e' | 'E') => exponential(magnitude, precision),
            None if self.precision.is_none() => self.grouped(&super::text::float(magnitude)),
            _ => general(magnitude, precision.max(1)),
        };
        Ok((number < 0.0, text))
    }

    /// With commas between thousands, where they are asked for.
    fn grouped(&self, digits: &str) -> String {
        if !self.comma {
            return digits.into();
        }
        let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
        let mut out = String::new();
        for (at, c) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                out.push(',');
            }
            out.push(c);
        }
        out + rest
    }

    fn pad(&self, sign: &str, body: &str, align: char, out: &mut Text<'_>) -> Result<()> {
        out.budget.read(body.len())?;
        let missing = self
            .width
            .saturating_sub(sign.chars().count() + body.chars().count());
        let is_number = align == '>';
        let align = match self.align {
            // `%05d` is aligned to the right and still filled after the sign.
            Some('>') if self.zero && is_number && self.fill.is_none() => '=',
            Some(align) => align,
            None if self.zero && is_number => '=',
            None => align,
        };
        let zero = self.zero && (align == '=' || self.align.is_none());
        let fill = self.fill.unwrap_or(if zero { '0' } else { ' ' });
        let before = match align {
            '<' | '=' => 0,
            '^' => missing / 2,
            _ => missing,
        };
        out.fill(fill, before)?;
        out.push(sign)?;
        if align == '=' {
            out.fill(fill, missing)?;
            return out.push(body);
        }
        out.push(body)?;
        out.fill(fill, missing - before)
    }
}

/// As C's `%e`: at least two digits of exponent.
fn exponential(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(power) => format!("{digits}e-{power:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

/// As C's `%g`: so many significant digits, without zeros at the end.
fn general(number: f64, precision: usize) -> String {
    let scientific = exponential(number, precision - 1);
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let power: i64 = exponent.parse().unwrap_or(0);
    let short = |digits: &str| match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if power < -4 || power >= precision as i64 {
        return format!("{}e{exponent}", short(digits));
    }
    let places = usize::try_from(precision as i64 - 1 - power).unwrap_or(0);
    short(&format!("{number:.places$}"))
}
