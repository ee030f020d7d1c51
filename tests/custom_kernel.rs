//! Kernels of a user's own: `thalweg::custom`.

use std::ops::Range;
use thalweg::custom::{Access, Binding, BufferId, CustomKernel, Launch, Need, Plan, ProgramId, Tolerance};
use thalweg::device::{Device, Executor, compare::compare};
use thalweg::{Error, Result};

use crate::common;

/// Writes twice its index into each word; one word in an invocation, and no uniform struct.
#[derive(Clone, Debug)]
struct Fill {
    words: usize,
    source: &'static str,
    is_per_block: bool,
}

const SOURCE: &str = "
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u) {
    let i = group.x + FIRST_GROUP.x;
    output[i] = 2u * i;
}";

impl CustomKernel for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn source(&self) -> String {
        self.source.to_owned()
    }

    fn bindings(&self) -> Vec<(Access, Need)> {
        vec![(Access::Write, Need::Flat(self.words))]
    }

    fn is_per_block(&self) -> bool {
        self.is_per_block
    }

    fn workgroups(&self, _: &Range<u32>) -> [u32; 3] {
        [self.words as u32, 1, 1]
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::EXACT
    }

    fn run(&self, _: u32, bindings: &mut [Binding]) {
        for (i, word) in bindings[0].words_mut().iter_mut().enumerate() {
            *word = 2 * i as u32;
        }
    }
}

/// More than the workgroups that a dispatch has in a dimension.
const FILL: Fill = Fill { words: 70_001, source: SOURCE, is_per_block: false };

fn plan_of(fill: &Fill) -> Result<(Plan, BufferId, ProgramId)> {
    let mut plan = Plan::new(4, 2);
    let output = plan.integers("output", fill.words);
    let program = plan.add_program(vec![Launch::whole(fill.clone(), &[output])])?;
    Ok((plan, output, program))
}

#[test]
fn a_launch_of_many_workgroups_is_split() {
    let (plan, output, program) = plan_of(&FILL).unwrap();
    pollster::block_on(async {
        for device in [Device::cpu(), common::gpu()] {
            let mut executor = Executor::new(&device, plan.clone()).await.unwrap();
            executor.run(program).unwrap();
            let words = executor.read(output).await.unwrap();
            assert!(words.iter().enumerate().all(|(i, word)| *word == 2 * i as u32), "{device}");
            let report = compare(&mut executor, program).await.unwrap();
            assert!(
                report.first_mismatch().is_none() && report.worst.contains_key("fill"),
                "{device}: {report}"
            );
        }
    });
}

/// A twin that is not its shader's is found.
#[test]
fn a_wrong_shader_is_found() {
    let source: String = SOURCE.replace("2u * i", "2u * i + u32(i == 77u)");
    let (plan, _, program) = plan_of(&Fill { source: source.leak(), ..FILL }).unwrap();
    let report = pollster::block_on(async {
        let mut executor = Executor::new(&common::gpu(), plan).await.unwrap();
        compare(&mut executor, program).await.unwrap()
    });
    assert!(report.to_string().contains("fill") && report.to_string().contains("element 77"), "{report}");
}

#[test]
fn a_shader_that_does_not_compile_is_refused() {
    for (from, to) in
        [("2u * i;", "2u * j;"), ("fn main", "fn other"), ("read_write", "read"), ("1) var", "7) var")]
    {
        let source: String = SOURCE.replace(from, to);
        let (plan, ..) = plan_of(&Fill { source: source.leak(), ..FILL }).unwrap();
        let error = pollster::block_on(Executor::new(&common::gpu(), plan)).unwrap_err();
        assert!(matches!(&error, Error::Device(text) if text.contains("fill")), "{to}: {error}");
    }
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let mut plan = Plan::new(4, 2);
    let output = plan.integers("output", FILL.words);
    let (short, block, none) = (plan.flat("short", 5), plan.per_block("block", 3), plan.flat("none", 0));
    let per_block = Fill { is_per_block: true, ..FILL };
    for (launch, words) in [
        (Launch::whole(FILL, &[]), "0 buffers are bound, not 1"),
        (Launch::whole(FILL, &[short]), "`short`"),
        (Launch::whole(FILL, &[block]), "`block`"),
        (Launch::whole(Fill { words: 0, ..FILL }, &[none]), "`none` has no words"),
        (Launch::whole(FILL, &[BufferId(99)]), "no buffer 99"),
        (Launch::per_block(FILL, &(0..1), &[output]), "blocks 0..1"),
        (Launch::per_block(per_block, &(0..1), &[output]), "Need::PerBlock"),
    ] {
        let error = plan.add_program(vec![launch]).unwrap_err().to_string();
        assert!(error.contains("fill: ") && error.contains(words), "{words}: {error}");
    }
    assert!(plan.programs.is_empty());
}
