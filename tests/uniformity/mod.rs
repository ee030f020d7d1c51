//! Which control flow all invocations of a workgroup share, as far as a reader of the text can tell: a barrier anywhere
//! else is undefined behaviour, which naga lets pass.
//!
//! A value is uniform if it is made of literals, constants, overrides, loads from uniform buffers, the workgroup's number
//! and their count, results of `workgroupUniformLoad`, and of local variables, arguments and results of functions that are
//! uniform themselves. A local variable is, if it is only ever given uniform values in uniform control flow. Functions are
//! looked at anew for every combination of uniform arguments. Everything else may differ: storage and workgroup memory,
//! pointers that are handed over, atomics.
//!
//! Control flow is uniform but below an `if` or `switch` by a value that is not, in a loop that some invocation may leave
//! or continue before the others, and after a `return` that some take. Functions are left, and loops gone through, by all
//! in the end, so that what follows them is uniform again.

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module, Statement,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whether every barrier of the module's first entry point is reached by all invocations of a workgroup, or by none.
pub fn barriers_are_uniform(module: &Module) -> bool {
    let function = &module.entry_points[0].function;
    let shared = [BuiltIn::WorkGroupId, BuiltIn::NumWorkGroups, BuiltIn::WorkGroupSize];
    let is_uniform = |binding: &Option<Binding>| match binding {
        Some(Binding::BuiltIn(builtin)) => shared.contains(builtin),
        _ => false,
    };
    let arguments: Vec<bool> = function.arguments.iter().map(|a| is_uniform(&a.binding)).collect();
    !Functions { module, known: BTreeMap::new() }.summary(function, arguments).misplaced
}

/// What a caller has to know of a function.
#[derive(Clone, Copy)]
struct Summary {
    has_barrier: bool,
    /// Whether it has one that not all reach, although all call the function.
    misplaced: bool,
    /// Whether all invocations that call it get the same result.
    uniform_result: bool,
}

struct Functions<'m> {
    module: &'m Module,
    known: BTreeMap<(Handle<Function>, Vec<bool>), Summary>,
}

impl<'m> Functions<'m> {
    fn called(&mut self, handle: Handle<Function>, arguments: Vec<bool>) -> Summary {
        let key = (handle, arguments);
        if let Some(summary) = self.known.get(&key) {
            return *summary;
        }
        let summary = self.summary(&self.module.functions[handle], key.1.clone());
        self.known.insert(key, summary);
        summary
    }

    fn summary(&mut self, function: &'m Function, arguments: Vec<bool>) -> Summary {
        let (locals, results) = (BTreeSet::new(), BTreeSet::new());
        let summary = Summary { has_barrier: false, misplaced: false, uniform_result: true };
        let mut walk = Walk { functions: self, function, arguments, locals, results, summary };
        // All that vary are found when another walk finds no more.
        loop {
            let found = (walk.locals.len(), walk.results.len());
            walk.block(&function.body, true);
            if found == (walk.locals.len(), walk.results.len()) {
                return walk.summary;
            }
        }
    }
}

/// What some invocations leave by while others go on.
#[derive(Clone, Copy, Default)]
struct Divergence {
    returns: bool,
    breaks: bool,
    continues: bool,
}

impl Divergence {
    fn any(self) -> bool {
        self.returns || self.breaks || self.continues
    }
}

impl std::ops::BitOrAssign for Divergence {
    fn bitor_assign(&mut self, other: Self) {
        self.returns |= other.returns;
        self.breaks |= other.breaks;
        self.continues |= other.continues;
    }
}

struct Walk<'w, 'm> {
    functions: &'w mut Functions<'m>,
    function: &'m Function,
    arguments: Vec<bool>,                    // whether each is uniform
    locals: BTreeSet<Handle<LocalVariable>>, // that vary
    results: BTreeSet<Handle<Expression>>,   // of calls, that vary
    summary: Summary,
}

impl Walk<'_, '_> {
    /// Walks through a block, which all invocations enter if `uniform`.
    fn block(&mut self, block: &Block, mut uniform: bool) -> Divergence {
        let mut divergence = Divergence::default();
        for statement in block {
            match statement {
                Statement::Block(block) => divergence |= self.block(block, uniform),
                Statement::If { condition, accept, reject } => {
                    let inside = uniform && self.is_uniform(*condition);
                    divergence |= self.block(accept, inside);
                    divergence |= self.block(reject, inside);
                }
                Statement::Switch { selector, cases } => {
                    let inside = uniform && self.is_uniform(*selector);
                    let mut here = inside;
                    for case in cases {
                        let of_case = self.block(&case.body, here);
                        here = if case.fall_through { here && !of_case.any() } else { inside };
                        divergence |= Divergence { breaks: false, ..of_case };
                    }
                }
                Statement::Loop { body, continuing, break_if } => {
                    let mut inside = uniform;
                    let of_loop = loop {
                        let mut of_loop = self.block(body, inside);
                        of_loop |= self.block(continuing, inside);
                        of_loop.breaks |= break_if.is_some_and(|condition| !self.is_uniform(condition));
                        if !inside || !of_loop.any() {
                            break of_loop;
                        }
                        inside = false; // some are a turn ahead
                    };
                    divergence.returns |= of_loop.returns;
                }
                Statement::Break => divergence.breaks |= !uniform,
                Statement::Continue => divergence.continues |= !uniform,
                Statement::Kill => divergence.returns |= !uniform,
                Statement::Return { value } => {
                    divergence.returns |= !uniform;
                    self.summary.uniform_result &=
                        uniform && value.is_none_or(|value| self.is_uniform(value));
                }
                Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => {
                    self.summary.has_barrier = true;
                    self.summary.misplaced |= !uniform;
                }
                Statement::Store { pointer, value }
                    if !(uniform && self.is_uniform(*value) && self.is_at_one_place(*pointer)) =>
                {
                    self.locals.extend(self.local_of(*pointer));
                }
                Statement::Call { function, arguments, result } => {
                    let given = arguments.iter().map(|argument| self.is_uniform(*argument)).collect();
                    let called = self.functions.called(*function, given);
                    // Through a pointer it may write anything.
                    let written: Vec<_> = arguments.iter().filter_map(|a| self.local_of(*a)).collect();
                    self.locals.extend(written);
                    self.results.extend(result.filter(|_| !called.uniform_result));
                    self.summary.has_barrier |= called.has_barrier;
                    self.summary.misplaced |= called.misplaced || (called.has_barrier && !uniform);
                }
                _ => {}
            }
            uniform &= !divergence.any();
        }
        divergence
    }

    /// Whether a value is the same for all invocations that come by. A pointer is no value.
    fn is_uniform(&self, expression: Handle<Expression>) -> bool {
        let all = |of: &[Handle<Expression>]| of.iter().all(|e| self.is_uniform(*e));
        match &self.function.expressions[expression] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::WorkGroupUniformLoadResult { .. } => true,
            Expression::FunctionArgument(i) => self.arguments[*i as usize],
            Expression::CallResult(_) => !self.results.contains(&expression),
            Expression::Load { pointer } => self.is_uniform_place(*pointer),
            Expression::Compose { components, .. } => all(components),
            Expression::Access { base, index } => all(&[*base, *index]),
            Expression::AccessIndex { base: value, .. }
            | Expression::Splat { value, .. }
            | Expression::Swizzle { vector: value, .. }
            | Expression::Unary { expr: value, .. }
            | Expression::Relational { argument: value, .. }
            | Expression::As { expr: value, .. } => self.is_uniform(*value),
            Expression::Binary { left, right, .. } => all(&[*left, *right]),
            Expression::Select { condition, accept, reject } => all(&[*condition, *accept, *reject]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                self.is_uniform(*arg) && [arg1, arg2, arg3].into_iter().flatten().all(|e| self.is_uniform(*e))
            }
            _ => false,
        }
    }

    /// Whether all invocations that load from a pointer get the same.
    fn is_uniform_place(&self, pointer: Handle<Expression>) -> bool {
        let of_variable = match &self.function.expressions[self.root(pointer)] {
            Expression::LocalVariable(local) => !self.locals.contains(local),
            Expression::GlobalVariable(global) => {
                self.functions.module.global_variables[*global].space == AddressSpace::Uniform
            }
            _ => false,
        };
        of_variable && self.is_at_one_place(pointer)
    }

    /// Whether a pointer leads all invocations to the same part of its variable.
    fn is_at_one_place(&self, pointer: Handle<Expression>) -> bool {
        match &self.function.expressions[pointer] {
            Expression::Access { base, index } => self.is_uniform(*index) && self.is_at_one_place(*base),
            Expression::AccessIndex { base, .. } => self.is_at_one_place(*base),
            _ => true,
        }
    }

    /// The variable that a pointer leads into.
    fn root(&self, pointer: Handle<Expression>) -> Handle<Expression> {
        match &self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.root(*base),
            _ => pointer,
        }
    }

    fn local_of(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match &self.function.expressions[self.root(pointer)] {
            Expression::LocalVariable(local) => Some(*local),
            _ => None,
        }
    }
}
