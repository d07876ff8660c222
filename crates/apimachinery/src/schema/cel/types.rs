//! The types of expressions, and when one may stand for another: the rules of
//! "Gradual Type Checking" in the CEL specification.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::declared::Declared;

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Dyn,
    /// Of an expression that is wrong: nothing more is said about it.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Rc<Type>),
    Map(Rc<Type>, Rc<Type>),
    Optional(Rc<Type>),
    /// Of a type, which is a value too.
    Kind(Option<Rc<Type>>),
    /// An object of the schema.
    Object(Rc<Declared>),
    /// An object of a library.
    Struct(&'static str),
    /// A value of a library without fields.
    Opaque(&'static str),
    /// To be found out.
    Variable(usize),
    /// A parameter of a declaration.
    Letter(char),
}

impl Type {
    pub(super) fn list(item: Self) -> Self {
        Self::List(Rc::new(item))
    }

    pub(super) fn map(key: Self, value: Self) -> Self {
        Self::Map(Rc::new(key), Rc::new(value))
    }

    pub(super) fn optional(inner: Self) -> Self {
        Self::Optional(Rc::new(inner))
    }

    /// The type inside of an optional, or the type itself; and whether it was one.
    pub(super) fn unwrapped(&self) -> (&Self, bool) {
        match self {
            Self::Optional(inner) => (inner, true),
            other => (other, false),
        }
    }

    /// Whether values are of one size, however large they are.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            Self::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }

    /// The type with its parts exchanged.
    fn rebuilt(&self, mut part: impl FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(item) => Self::list(part(item)),
            Self::Map(key, value) => Self::map(part(key), part(value)),
            Self::Optional(inner) => Self::optional(part(inner)),
            Self::Kind(Some(inner)) => Self::Kind(Some(Rc::new(part(inner)))),
            other => other.clone(),
        }
    }

    /// A declared type with the variables of one use of it.
    pub(super) fn instance(&self, variable: &impl Fn(char) -> Self) -> Self {
        match self {
            Self::Letter(letter) => variable(*letter),
            other => other.rebuilt(|part| part.instance(variable)),
        }
    }

    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::List(inner) | Self::Optional(inner) | Self::Kind(Some(inner)) => vec![inner],
            Self::Map(key, value) => vec![key, value],
            _ => Vec::new(),
        }
    }

    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Optional(_)
                | Self::Object(_)
                | Self::Struct(_)
                | Self::Opaque(_)
                | Self::Duration
                | Self::Timestamp
        )
    }
}

/// As messages print it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Kind(None) => f.write_str("type"),
            Self::Kind(Some(inner)) => write!(f, "type({inner})"),
            Self::Object(declared) => f.write_str(&declared.name),
            Self::Struct(name) | Self::Opaque(name) => f.write_str(name),
            Self::Variable(index) => write!(f, "_var{index}"),
            Self::Letter(letter) => write!(f, "{letter}"),
        }
    }
}

/// Most parts of a type that are told apart: types grow by powers of two where
/// loops put their variable into both sides of a map.
const MAX_PARTS: usize = 1_000;
/// Most steps that comparing the types of one expression takes.
const MAX_STEPS: u32 = 1_000_000;

/// What is known of the variables of an expression. Where finding out would
/// take too long, everything fits and nothing is learnt.
#[derive(Debug, Default)]
pub(super) struct Known {
    steps: Cell<u32>,
    bound: Vec<Option<Type>>,
    /// What was bound before, latest last, to take back an attempt.
    trail: Vec<(usize, Option<Type>)>,
}

impl Known {
    /// A variable nothing is known of.
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Variable(self.bound.len() - 1)
    }

    fn find(&self, variable: &Type) -> Option<&Type> {
        match variable {
            Type::Variable(index) => self.bound.get(*index)?.as_ref(),
            _ => None,
        }
    }

    fn bind(&mut self, variable: &Type, to: Type) {
        if let Type::Variable(index) = variable
            && let Some(place) = self.bound.get_mut(*index)
        {
            self.trail.push((*index, place.replace(to)));
        }
    }

    /// Counts a step; whether there are too many.
    fn is_spent(&self) -> bool {
        self.steps.set(self.steps.get().saturating_add(1));
        self.steps.get() > MAX_STEPS
    }

    /// The type with everything known filled in; with `close`, `dyn` for the rest.
    pub(super) fn resolved(&self, of: &Type, close: bool) -> Type {
        let mut left = MAX_PARTS;
        self.filled(of, close, &mut left)
    }

    fn filled(&self, of: &Type, close: bool, left: &mut usize) -> Type {
        match left.checked_sub(1) {
            Some(fewer) if !self.is_spent() => *left = fewer,
            _ => return Type::Dyn,
        }
        match (self.find(of), of) {
            (Some(found), _) => self.filled(found, close, left),
            (None, Type::Variable(_) | Type::Letter(_)) if close => Type::Dyn,
            (None, other) => other.rebuilt(|part| self.filled(part, close, left)),
        }
    }

    /// Whether a value of type `left` may stand where `right` is asked for;
    /// learns what that says about variables, or nothing when it may not.
    pub(super) fn assignable(&mut self, left: &Type, right: &Type) -> bool {
        self.all_assignable(&[(left, right)])
    }

    /// The same of several at once.
    pub(super) fn all_assignable(&mut self, pairs: &[(&Type, &Type)]) -> bool {
        let start = self.trail.len();
        let fits = pairs.iter().all(|(left, right)| self.unify(left, right));
        if !fits {
            for (index, before) in self.trail.drain(start..).rev() {
                self.bound[index] = before;
            }
        }
        fits
    }

    fn unify(&mut self, left: &Type, right: &Type) -> bool {
        if self.is_spent() {
            return true;
        }
        if matches!(right, Type::Variable(_)) {
            match self.substitutes(left, right) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if matches!(left, Type::Variable(_)) {
            return self.substitutes(right, left).0;
        }
        match (left, right) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) | (Type::Kind(_), Type::Kind(_)) => {
                true
            }
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.unify(a, b) && self.unify(x, y),
            (a, b) => a == b,
        }
    }

    /// Whether the variable may be `other`, and whether something was known of it.
    fn substitutes(&mut self, other: &Type, variable: &Type) -> (bool, bool) {
        if other == variable {
            return (true, true);
        }
        if let Some(found) = self.find(variable).cloned() {
            if *other == found {
                return (true, true);
            }
            if !self.unify(other, &found) {
                return (false, true);
            }
            let general = if less_specific(other, &found) { other.clone() } else { found };
            if !self.occurs(variable, &general) {
                self.bind(variable, general);
            }
            return (true, true);
        }
        if self.occurs(variable, other) {
            return (false, false);
        }
        self.bind(variable, other.clone());
        (true, false)
    }

    fn occurs(&self, variable: &Type, within: &Type) -> bool {
        if variable == within || self.is_spent() {
            return true;
        }
        match self.find(within) {
            Some(found) => self.occurs(variable, found),
            None => within.parts().into_iter().any(|part| self.occurs(variable, part)),
        }
    }
}

/// The more general of two types that agree.
pub(super) fn most_general(left: &Type, right: &Type) -> Type {
    if less_specific(left, right) { left.clone() } else { right.clone() }
}

/// Whether `left` says at most as much as `right`.
fn less_specific(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Dyn | Type::Variable(_) | Type::Letter(_), _) | (Type::Kind(_), Type::Kind(_)) => true,
        (_, Type::Dyn | Type::Variable(_) | Type::Letter(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => less_specific(a, b),
        (Type::Map(a, x), Type::Map(b, y)) => less_specific(a, b) && less_specific(x, y),
        (a, b) => a == b,
    }
}
