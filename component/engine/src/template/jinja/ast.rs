//! A parsed template. Chains of operators lie flat in lists, so that the tree is as deep as the
//! source nests brackets and blocks, and walking or dropping it takes no more stack than that.

use std::sync::Arc;

/// A name or a text of the template.
pub(crate) type Name = Arc<str>;
/// The statements between two tags of one block.
pub(crate) type Body = Vec<Statement>;

#[derive(Debug)]
pub(crate) struct Statement {
    pub(super) line: u32,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Data(Arc<str>),
    Emit(Expr),
    If {
        branches: Vec<(Expr, Body)>,
        otherwise: Body,
    },
    For(Arc<ForLoop>),
    Set(Target, Expr),
    SetBlock {
        target: Target,
        filters: Vec<Postfix>,
        body: Body,
    },
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<MacroDef>),
    /// `{% call %}`: the macro is what the called one knows as `caller`.
    Call(Arc<MacroDef>, Expr),
    Filter(Vec<Postfix>, Body),
    /// `{% generation %}` and `{% block %}`: a scope of its own, and nothing else.
    Scope(Body),
    Do(Expr),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct ForLoop {
    pub(super) line: u32,
    pub(super) target: Target,
    pub(super) iterable: Expr,
    pub(super) filter: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Body,
    pub(super) otherwise: Body,
}

#[derive(Debug)]
pub(crate) struct MacroDef {
    pub(super) name: Name,
    /// With the defaults that are given.
    pub(super) parameters: Vec<(Name, Option<Expr>)>,
    pub(super) body: Body,
    /// True if the body has the name `varargs`, and so takes more arguments than there are
    /// parameters.
    pub(super) varargs: bool,
    /// The same of `kwargs` and of arguments with other names.
    pub(super) kwargs: bool,
}

/// The target of an assignment.
#[derive(Debug)]
pub(crate) enum Target {
    Name(Name),
    /// An attribute of a namespace.
    Attribute(Name, Name),
    Several(Vec<Target>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Sub => "-",
            Arithmetic::Mul => "*",
            Arithmetic::Div => "/",
            Arithmetic::FloorDiv => "//",
            Arithmetic::Rem => "%",
            Arithmetic::Pow => "**",
        }
    }
}

#[derive(Debug)]
pub(crate) enum Expr {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Name(Name),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    /// A sign: `-` where true.
    Sign(bool, Box<Expr>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// Operators of one level, from left to right.
    Arithmetic(Box<Expr>, Vec<(Arithmetic, Expr)>),
    /// Operands of `~`.
    Concat(Vec<Expr>),
    /// `value if test else ...`: values with their tests, and what is left.
    If(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    Postfix(Box<Expr>, Vec<Postfix>),
}

#[derive(Debug)]
pub(crate) enum Postfix {
    Attribute(Name),
    Item(Expr),
    Slice(Box<[Option<Expr>; 3]>),
    Call(Args),
    Filter(Name, Args),
    Test {
        name: Name,
        args: Args,
        negated: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(super) positional: Vec<(Expr, Spread)>,
    pub(super) keyword: Vec<(Name, Expr)>,
    /// `**dict`
    pub(super) dicts: Vec<Expr>,
}

/// True if an argument is a list of arguments: `*list`.
pub(crate) type Spread = bool;
