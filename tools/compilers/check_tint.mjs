// Compiles every pipeline of a folder (examples/export_shaders.rs) with Tint, the shader compiler of Chromium, on a device of
// Dawn's that runs nothing. PACKAGES is the folder where npm put `webgpu`. Exits with 1 where Tint refuses a pipeline.
//
//   node check_tint.mjs FOLDER PACKAGES
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, packages] = process.argv.slice(2);
const { create, globals } = await import(pathToFileURL(createRequire(`${packages}/`).resolve('webgpu')));
Object.assign(globalThis, globals);

const gpu = create(['backend=null']); // kept: what comes of it does not outlive it
const adapter = await gpu.requestAdapter();
const { maxComputeWorkgroupStorageSize } = adapter.limits;
const device = await adapter.requestDevice({ requiredLimits: { maxComputeWorkgroupStorageSize } });

async function faults(pipeline) {
  const code = fs.readFileSync(`${folder}/${pipeline.file}.wgsl`, 'utf8');
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  const module = device.createShaderModule({ code });
  const buffers = pipeline.access.map((access) => ({ type: access === 'Read' ? 'read-only-storage' : 'storage' }));
  const entries = [{ type: 'uniform', hasDynamicOffset: true }, ...buffers]
    .map((buffer, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer }));
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  device.createComputePipeline({ layout, compute: { module, entryPoint: 'main', constants: pipeline.overrides } });
  const { messages } = await module.getCompilationInfo();
  const errors = [await device.popErrorScope(), await device.popErrorScope()].filter((error) => error);
  return [
    ...messages.map(({ type, lineNum, message }) => `${type}, line ${lineNum}: ${message}`),
    ...errors.map(({ message }) => message),
  ];
}

const start = performance.now();
const all = JSON.parse(fs.readFileSync(`${folder}/manifest.json`));
// Browsers have no 64-bit integers; more workgroup memory than the device's is asked for only where an adapter has it.
const pipelines = all.filter((p) => !p.int64 && p.workgroup_bytes <= maxComputeWorkgroupStorageSize);
let bad = 0;
for (const pipeline of pipelines) {
  const found = await faults(pipeline);
  if (found.length > 0) {
    bad += 1;
    console.error(`tint: ${pipeline.file} of ${pipeline.plan}: ${found.join('; ').slice(0, 1000)}`);
  }
}
const seconds = ((performance.now() - start) / 1e3).toFixed(0);
const left = all.length - pipelines.length;
console.log(`tint: ${pipelines.length} pipelines in ${seconds} s, ${bad} bad; ${left} not for browsers left out ` +
  `(64-bit integers, more than ${maxComputeWorkgroupStorageSize} bytes of workgroup memory)`);
process.exit(bad > 0 || pipelines.length === 0 ? 1 : 0); // Dawn does not end by itself
