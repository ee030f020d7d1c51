//! A plan on a GPU: buffers, bind groups and pipelines made once, programs replayed in one compute pass each.

use super::{Gpu, Pipeline};
use crate::kernels::Access;
use crate::plan::{BufferId, Launch, Plan, ProgramId};
use crate::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Uniform structs begin at multiples of this: what WebGPU guarantees dynamic offsets for.
const UNIFORM_STRIDE: usize = 256;
/// Timestamps of one query set.
const TIMESTAMPS: u32 = 512;

/// A plan with its buffers, ready to run.
#[derive(Debug)]
pub struct Executor {
    gpu: Arc<Gpu>,
    plan: Arc<Plan>,
    buffers: Vec<wgpu::Buffer>,
    programs: Vec<Program>,
    counts: Arc<Counts>,
}

/// What makes two bind groups different: kernel, access and buffers of its bindings, bytes of its uniform struct.
type GroupKey = (&'static str, Vec<Access>, Vec<BufferId>, usize);

/// How often host and device had to do with each other. What [`Executor::new`] does is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Command buffers handed to the queue.
    pub submissions: u64,
    /// Writes from the host into a buffer.
    pub uploads: u64,
    /// Bytes of those.
    pub uploaded_bytes: u64,
    /// Times that the host waited for the device.
    pub waits: u64,
}

/// [`Counters`] that readings under way can count on.
#[derive(Debug, Default)]
struct Counts {
    submissions: AtomicU64,
    uploads: AtomicU64,
    uploaded_bytes: AtomicU64,
    waits: AtomicU64,
}

/// A program, compiled.
#[derive(Debug)]
struct Program {
    dispatches: Vec<Dispatch>,
    launches: Vec<Range<usize>>, // the dispatches of each
}

/// One launch, or a part of one that is cut ([`Launch::cut`]), compiled.
#[derive(Debug)]
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    uniform_offset: u32,
    workgroups: [u32; 3],
    flop: usize,
}

/// What one dispatch does of a launch: all of it, unless it has more workgroups than the adapter takes at once.
#[derive(Debug)]
struct Part {
    launch: Launch,
    first_group: [u32; 3],
    workgroups: [u32; 3],
    of: usize, // parts
}

impl Part {
    /// A launch in parts of at most `most` workgroups in each dimension. Workgroups do not look at each other's results, so that
    /// the parts together do the same, to the bit.
    fn of(launch: &Launch, most: u32) -> Vec<Self> {
        let all = launch.kernel.workgroups(&launch.flat_blocks());
        let firsts = all.map(|n| (0..n).step_by(most.max(1) as usize));
        let [xs, ys, zs] = &firsts;
        let of = firsts.iter().map(ExactSizeIterator::len).product();
        let mut parts = Vec::new();
        for z in zs.clone() {
            for y in ys.clone() {
                for x in xs.clone() {
                    let first_group = [x, y, z];
                    let workgroups = std::array::from_fn(|i| (all[i] - first_group[i]).min(most));
                    parts.push(Self { launch: launch.clone(), first_group, workgroups, of });
                }
            }
        }
        parts
    }
}

impl Dispatch {
    fn record(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[self.uniform_offset]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Executor {
    /// Makes pipelines, bind groups and buffers, all zero.
    ///
    /// # Errors
    /// [`Error::Memory`] where a buffer is beyond the adapter's limits, or there is not enough memory.
    pub async fn new(gpu: Arc<Gpu>, plan: Arc<Plan>) -> Result<Self> {
        if let Some(excess) = plan.excess(&gpu.limits.room()) {
            return Err(excess.error(&gpu.adapter.name, excess.cause.advice()));
        }
        let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = |label: &str, words: usize, usage| {
            let size = 4 * words.max(1) as u64;
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let specs = plan.buffers.iter().enumerate();
        let buffers: Vec<_> =
            specs.map(|(i, s)| buffer(&s.name, plan.len_of(BufferId(i)), storage)).collect();

        // Every different uniform struct once, in one buffer.
        let mut uniforms: Vec<u8> = Vec::new();
        let mut offsets: HashMap<Vec<u8>, u32> = HashMap::new();
        let cut = |launch: &Launch| {
            let pieces = launch.cut(plan.lanes, gpu.limits.dispatch_flop);
            pieces.into_iter().flat_map(|piece| Part::of(&piece, gpu.limits.workgroups)).collect()
        };
        let programs: Vec<Vec<Vec<Part>>> =
            plan.programs.iter().map(|launches| launches.iter().map(cut).collect()).collect();
        let parts = || programs.iter().flatten().flatten();
        for Part { launch, .. } in parts() {
            let bytes = launch.kernel.uniform(&launch.flat_blocks());
            offsets.entry(bytes).or_insert_with_key(|bytes| {
                let offset = uniforms.len();
                uniforms.extend_from_slice(bytes);
                uniforms.resize(uniforms.len().next_multiple_of(UNIFORM_STRIDE), 0);
                offset as u32
            });
        }
        let uniform_buffer = buffer("uniforms", uniforms.len() / 4, wgpu::BufferUsages::UNIFORM);
        if let Some(error) = memory.pop().await {
            let lack = plan.lacks_memory(&format!("and the driver says: {error}"));
            return Err(lack.error(&gpu.adapter.name, lack.cause.advice()));
        }
        gpu.queue.write_buffer(&uniform_buffer, 0, &uniforms);

        let kernels: Vec<_> = parts().map(|part| (&part.launch.kernel, part.first_group)).collect();
        let mut pipelines = gpu.pipelines(&kernels).await?.into_iter();
        let mut groups: HashMap<GroupKey, wgpu::BindGroup> = HashMap::new();
        let mut compile = |part: &Part, pipeline: Pipeline| {
            let launch = &part.launch;
            let uniform = launch.kernel.uniform(&launch.flat_blocks());
            let kernel = &launch.kernel;
            let key = (kernel.name(), kernel.access().to_vec(), launch.bindings.clone(), uniform.len());
            let bindings = groups.entry(key).or_insert_with(|| {
                let size = wgpu::BufferSize::new(uniform.len().next_multiple_of(16) as u64);
                let uniform = wgpu::BufferBinding { buffer: &uniform_buffer, offset: 0, size };
                let mut entries = vec![wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(uniform),
                }];
                for (i, id) in launch.bindings.iter().enumerate() {
                    let resource = buffers[id.0].as_entire_binding();
                    entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
                }
                gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(launch.kernel.name()),
                    layout: &pipeline.layout,
                    entries: &entries,
                })
            });
            Dispatch {
                pipeline: pipeline.pipeline,
                bindings: bindings.clone(),
                uniform_offset: offsets[&uniform],
                workgroups: part.workgroups,
                flop: launch.flop(plan.lanes) / part.of,
            }
        };
        let mut compiled = Vec::new();
        for launches in &programs {
            let (mut dispatches, mut of_launch) = (Vec::new(), Vec::new());
            for parts in launches {
                let first = dispatches.len();
                dispatches.extend(parts.iter().zip(pipelines.by_ref()).map(|(l, p)| compile(l, p)));
                of_launch.push(first..dispatches.len());
            }
            compiled.push(Program { dispatches, launches: of_launch });
        }
        gpu.check()?;
        Ok(Self { gpu, plan, buffers, programs: compiled, counts: Arc::default() })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What has been counted so far.
    pub fn counters(&self) -> Counters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            submissions: count(&self.counts.submissions),
            uploads: count(&self.counts.uploads),
            uploaded_bytes: count(&self.counts.uploaded_bytes),
            waits: count(&self.counts.waits),
        }
    }

    /// Writes words into a buffer, from word `first` on, before whatever is submitted next.
    pub fn write(&mut self, buffer: BufferId, first: usize, words: &[u32]) {
        self.counts.uploads.fetch_add(1, Ordering::Relaxed);
        self.counts.uploaded_bytes.fetch_add(4 * words.len() as u64, Ordering::Relaxed);
        self.gpu.queue.write_buffer(&self.buffers[buffer.0], 4 * first as u64, bytemuck::cast_slice(words));
    }

    /// Submits programs, each so many times, and after them the reading of some words of some buffers, one behind the
    /// other. One submission, or as few as [`super::Limits::submission_flop`] allows; nothing is waited for.
    pub fn run(
        &mut self,
        programs: &[(ProgramId, u32)],
        readings: &[(BufferId, Range<usize>)],
    ) -> Result<Option<Readback>> {
        let runs: Vec<_> =
            programs.iter().map(|(id, times)| (self.programs[id.0].dispatches.as_slice(), *times)).collect();
        self.submit(&runs, readings)
    }

    /// Submits launch number `launch` of a program, once.
    pub fn run_launch(&mut self, program: ProgramId, launch: usize) -> Result<()> {
        let Program { dispatches, launches } = &self.programs[program.0];
        self.submit(&[(&dispatches[launches[launch].clone()], 1)], &[]).map(|_| ())
    }

    /// Seconds that each launch of a program takes: by timestamps around a pass of its own where the device has them,
    /// else by the host's clock around a submission of its own.
    pub async fn time_launches(&mut self, program: ProgramId) -> Result<Vec<f64>> {
        let Program { dispatches, launches } = &self.programs[program.0];
        let times = self.time_dispatches(dispatches).await?;
        Ok(launches.iter().map(|parts| times[parts.clone()].iter().sum()).collect())
    }

    async fn time_dispatches(&self, dispatches: &[Dispatch]) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        if !self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let word = BufferId(0);
            for dispatch in dispatches {
                let start = Instant::now();
                let alone = std::slice::from_ref(dispatch);
                if let Some(reading) = self.submit(&[(alone, 1)], &[(word, 0..1)])? {
                    reading.words().await?;
                }
                times.push(start.elapsed().as_secs_f64());
            }
            return Ok(times);
        }
        let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
        for dispatches in dispatches.chunks(TIMESTAMPS as usize / 2) {
            let device = &self.gpu.device;
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: TIMESTAMPS,
            });
            let buffer = |usage| {
                let label = Some("timestamps");
                let size = 8 * u64::from(TIMESTAMPS);
                device.create_buffer(&wgpu::BufferDescriptor {
                    label,
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            };
            let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let staging = buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (i, dispatch) in dispatches.iter().enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * i as u32),
                        end_of_pass_write_index: Some(2 * i as u32 + 1),
                    }),
                });
                dispatch.record(&mut pass);
            }
            let n = 2 * dispatches.len() as u32;
            encoder.resolve_query_set(&queries, 0..n, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, 8 * u64::from(n));
            let submission = self.gpu.queue.submit([encoder.finish()]);
            let words =
                Readback::begin(self.gpu.clone(), self.counts.clone(), staging, submission).words().await?;
            let ticks = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
            let took = |i: usize| ticks(2 * i + 1).saturating_sub(ticks(2 * i)) as f64 * period;
            times.extend((0..dispatches.len()).map(took));
        }
        Ok(times)
    }

    /// Submits a reading of some words of a buffer.
    pub fn read(&self, buffer: BufferId, range: Range<usize>) -> Result<Readback> {
        let reading = self.submit(&[], &[(buffer, range)])?;
        reading.ok_or_else(|| Error::Device("a reading was lost".to_owned()))
    }

    fn submit(
        &self,
        runs: &[(&[Dispatch], u32)],
        readings: &[(BufferId, Range<usize>)],
    ) -> Result<Option<Readback>> {
        self.gpu.check()?;
        let new_encoder =
            || self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut encoder = new_encoder();
        let times = runs.iter().flat_map(|(dispatches, times)| (0..*times).map(move |_| *dispatches));
        let mut dispatches = times.flatten().peekable();
        while let Some(first) = dispatches.next() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            first.record(&mut pass);
            let mut left = self.gpu.limits.submission_flop.saturating_sub(first.flop);
            while let Some(dispatch) = dispatches.next_if(|dispatch| dispatch.flop <= left) {
                dispatch.record(&mut pass);
                left -= dispatch.flop;
            }
            drop(pass);
            if dispatches.peek().is_some() {
                self.counts.submissions.fetch_add(1, Ordering::Relaxed);
                self.gpu.queue.submit([std::mem::replace(&mut encoder, new_encoder()).finish()]);
            }
        }
        let staging = (!readings.is_empty()).then(|| {
            let size = 4 * readings.iter().map(|(_, range)| range.len() as u64).sum::<u64>();
            let staging = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("reading"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut to = 0;
            for (buffer, range) in readings {
                let (from, size) = (&self.buffers[buffer.0], 4 * range.len() as u64);
                encoder.copy_buffer_to_buffer(from, 4 * range.start as u64, &staging, to, size);
                to += size;
            }
            staging
        });
        self.counts.submissions.fetch_add(1, Ordering::Relaxed);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let (gpu, counts) = (&self.gpu, &self.counts);
        Ok(staging.map(|staging| Readback::begin(gpu.clone(), counts.clone(), staging, submission)))
    }
}

#[derive(Debug, Default)]
struct Done {
    result: Mutex<Option<std::result::Result<(), String>>>,
    waker: Mutex<Option<Waker>>,
}

/// Words on their way back from the device: a future.
#[derive(Debug)]
pub struct Readback {
    gpu: Arc<Gpu>,
    counts: Arc<Counts>,
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    done: Arc<Done>,
}

impl Readback {
    fn begin(
        gpu: Arc<Gpu>,
        counts: Arc<Counts>,
        staging: wgpu::Buffer,
        submission: wgpu::SubmissionIndex,
    ) -> Self {
        let done = Arc::new(Done::default());
        let tell = done.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            *tell.result.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(result.map_err(|e| e.to_string()));
            if let Some(waker) = tell.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                waker.wake();
            }
        });
        Self { gpu, counts, staging, submission, done }
    }

    /// Whether the words are there, so that awaiting them takes no time.
    pub fn is_ready(&self) -> bool {
        // An error here shows up again, with its text, when the reading is awaited.
        let _ = self.gpu.device.poll(wgpu::PollType::Poll);
        self.done.result.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The words.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost or the work before the reading failed.
    pub async fn words(self) -> Result<Vec<u32>> {
        // Native backends call back only from `poll`; a browser calls back by itself, and this does nothing there.
        self.counts.waits.fetch_add(1, Ordering::Relaxed);
        let wait = wgpu::PollType::Wait { submission_index: Some(self.submission.clone()), timeout: None };
        let polled = self.gpu.device.poll(wait).map_err(|e| e.to_string());
        self.gpu.check()?;
        let result = match polled {
            Ok(_) => Mapped(&self.done).await,
            Err(text) => Err(text),
        };
        let fail =
            |text: String| Error::Device(format!("{}: reading back failed: {text}", self.gpu.adapter.name));
        result.map_err(fail)?;
        let view = self.staging.get_mapped_range(..).map_err(|e| fail(e.to_string()))?;
        let mut words = vec![0; view.len() / 4];
        bytemuck::cast_slice_mut(&mut words).copy_from_slice(&view);
        Ok(words)
    }
}

/// Ready when the mapping callback has come.
struct Mapped<'a>(&'a Done);

impl Future for Mapped<'_> {
    type Output = std::result::Result<(), String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<Self::Output> {
        *self.0.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        let result = self.0.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ExampleStorage, TrainingData};
    use std::collections::BTreeSet;

    #[test]
    fn parts_of_a_launch_cover_it_once() {
        let recipe = crate::recipe::Recipe::preset("digits").unwrap();
        let network = recipe.known_network().unwrap();
        let data = TrainingData::new(ExampleStorage::Bytes, 1000, network.input);
        let plan = crate::plan::training_plan(&network, &recipe, &data, crate::plan::Target::gpu(128)).plan;
        for launch in plan.launches() {
            let all = launch.kernel.workgroups(&launch.flat_blocks());
            for most in [7, 64, u32::MAX] {
                let parts = Part::of(launch, most);
                let mut groups = BTreeSet::new();
                for part in &parts {
                    assert!(part.workgroups.iter().all(|n| (1..=most).contains(n)) && part.of == parts.len());
                    let [x, y, z] = std::array::from_fn(|i| {
                        part.first_group[i]..part.first_group[i] + part.workgroups[i]
                    });
                    for x in x {
                        for y in y.clone() {
                            for z in z.clone() {
                                assert!(groups.insert([x, y, z]), "{most}: {x}, {y}, {z} twice");
                            }
                        }
                    }
                }
                assert_eq!(groups.len() as u64, all.iter().map(|n| u64::from(*n)).product::<u64>());
                let last = groups.last().map(|group| group.map(|i| i + 1));
                assert_eq!(last, Some(all));
            }
        }
    }
}
