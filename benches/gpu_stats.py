"""Compiles one pipeline for an AMD GPU that is not there, and prints its compiler statistics as JSON.

Mesa's RADV stands up a device without hardware where RADV_FORCE_FAMILY is set. It executes nothing.
gpu_stats.sh calls this; alone: gpu_stats.py table FOLDER FAMILY..., FOLDER being export_shaders' output.
"""

import json
import os
import re
import subprocess
import sys
import time

LIMIT = 60  # seconds that a compiler may take
CAPTURE = 0x40 | 0x80  # statistics, internal representations


def text(c_string):
    import vulkan as vk

    return c_string if isinstance(c_string, str) else vk.ffi.string(c_string).decode()


def listing(device, executable):
    """The compiler's listing, as far as the driver shows one."""
    import vulkan as vk

    get = vk.lib.vkGetDeviceProcAddr(device, b"vkGetPipelineExecutableInternalRepresentationsKHR")
    executable = vk.ffi.addressof(executable)
    get = vk.ffi.cast("PFN_vkGetPipelineExecutableInternalRepresentationsKHR", get)
    count = vk.ffi.new("uint32_t*")
    get(device, executable, count, vk.ffi.NULL)
    found = vk.ffi.new("VkPipelineExecutableInternalRepresentationKHR[]", count[0])
    for one in found:
        one.sType = vk.VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR
    get(device, executable, count, found)
    data = [vk.ffi.new("char[]", max(one.dataSize, 1)) for one in found]
    for one, room in zip(found, data):
        one.pData = room
    get(device, executable, count, found)
    return {text(one.name): vk.ffi.string(room).decode(errors="replace") for one, room in zip(found, data)}


def hot_loop(assembly):
    """Multiply-adds and vector instructions of the loop body with the most multiply-adds."""
    blocks, block = [], []
    for line in assembly.splitlines():
        if re.match(r"\s*BB\d+", line):
            blocks.append(block)
            block = []
        block.append(line.strip())
    best = (0, 0)
    for block in blocks + [block]:
        vector = [line for line in block if re.match(r"v_", line)]
        fused = [line for line in vector if re.match(r"v_(dual_)?(pk_)?(fma|fmac|mac|mad)[a-z]*_f32|v_dual_fma", line)]
        best = max(best, (len(fused), len(vector)))
    return best


def one(path, n_storage):
    """Compiles a pipeline in this process, and prints what came of it."""
    import vulkan as vk

    application = vk.VkApplicationInfo(apiVersion=vk.VK_MAKE_VERSION(1, 3, 0))
    instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=application), None)
    gpu = vk.vkEnumeratePhysicalDevices(instance)[0]
    # As wgpu opens it.
    robust = vk.VkPhysicalDeviceRobustness2FeaturesEXT(robustBufferAccess2=1)
    statistics = vk.VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR(pNext=robust, pipelineExecutableInfo=1)
    zeros = vk.VkPhysicalDeviceVulkan13Features(pNext=statistics, shaderZeroInitializeWorkgroupMemory=1)
    device = vk.vkCreateDevice(
        gpu,
        vk.VkDeviceCreateInfo(
            pNext=zeros,
            pQueueCreateInfos=[vk.VkDeviceQueueCreateInfo(queueFamilyIndex=0, pQueuePriorities=[1.0])],
            ppEnabledExtensionNames=["VK_KHR_pipeline_executable_properties", "VK_EXT_robustness2"],
            pEnabledFeatures=vk.VkPhysicalDeviceFeatures(robustBufferAccess=1),
        ),
        None,
    )
    with open(path, "rb") as file:
        code = file.read()
    module = vk.vkCreateShaderModule(device, vk.VkShaderModuleCreateInfo(codeSize=len(code), pCode=code), None)
    bindings = [
        vk.VkDescriptorSetLayoutBinding(
            binding=i,
            descriptorType=vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER if i else vk.VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC,
            descriptorCount=1,
            stageFlags=vk.VK_SHADER_STAGE_COMPUTE_BIT,
        )
        for i in range(n_storage + 1)
    ]
    layout = vk.vkCreateDescriptorSetLayout(device, vk.VkDescriptorSetLayoutCreateInfo(pBindings=bindings), None)
    layout = vk.vkCreatePipelineLayout(device, vk.VkPipelineLayoutCreateInfo(pSetLayouts=[layout]), None)
    stage = vk.VkPipelineShaderStageCreateInfo(stage=vk.VK_SHADER_STAGE_COMPUTE_BIT, module=module, pName="main")
    info = vk.VkComputePipelineCreateInfo(flags=CAPTURE, stage=stage, layout=layout)
    start = time.monotonic()
    pipeline = vk.vkCreateComputePipelines(device, None, 1, [info], None)[0]
    took = time.monotonic() - start
    executable = vk.VkPipelineExecutableInfoKHR(pipeline=pipeline, executableIndex=0)
    get = vk.vkGetDeviceProcAddr(device, "vkGetPipelineExecutableStatisticsKHR")
    result = {text(s.name): s.value.u64 for s in get(device, executable)}
    result["seconds"] = took
    try:
        listings = listing(device, executable)
    except Exception as error:  # statistics are what counts; listings are extra
        listings = {"none": str(error)}
    if folder := os.environ.get("GPU_STATS_LISTINGS"):
        family = os.environ["RADV_FORCE_FAMILY"]
        for name, listed in listings.items():
            with open(f"{folder}/{os.path.basename(path)}.{family}.{name.replace(' ', '_')}", "w") as file:
                file.write(listed)
    result["fused"], result["vector"] = hot_loop(listings.get("Assembly") or "")
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # some versions crash when they take the device down


def measure(path, n_storage, family):
    """Compiles in a process of its own: a dictionary, or a text that says what went wrong."""
    environment = dict(os.environ, RADV_FORCE_FAMILY=family, MESA_SHADER_CACHE_DISABLE="true")
    command = [sys.executable, __file__, "one", path, str(n_storage)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"the compiler has not finished after {LIMIT} s"
    if done.returncode != 0 or not done.stdout:
        last = done.stderr.strip().splitlines()[-1:] or ["no text"]
        return f"the compiler failed ({done.returncode}): {last[0]}"
    return json.loads(done.stdout.splitlines()[-1])


def get(statistics, *names):
    """A statistic, whatever this version of Mesa calls it."""
    for name in names:
        for key, value in statistics.items():
            if key.lower() == name:
                return value
    raise KeyError(f"no {names[0]} among {sorted(statistics)}")


def table(folder, families):
    """Prints the table; True where nothing spills."""
    with open(f"{folder}/manifest.json", encoding="utf-8") as file:
        pipelines = sorted(json.load(file), key=lambda pipeline: (pipeline["kernel"], pipeline["file"]))
    if not pipelines:
        sys.exit("gpu_stats: no pipelines")
    faults = []
    for family in families:
        print(f"\n### {family}\n")
        print("| kernel | workgroup | VGPRs | SGPRs | spilled VGPRs | spilled SGPRs | LDS bytes | scratch bytes "
              "| waves a SIMD | instructions | latency | inverse throughput | FMA in the hot block |")
        print("|---|---|" + "---:|" * 11)
        for pipeline in pipelines:
            kernel, size = pipeline["kernel"], "x".join(map(str, pipeline["workgroup"]))
            found = measure(f"{folder}/{pipeline['file']}.spv", len(pipeline["access"]), family)
            if isinstance(found, str):
                print(f"| {kernel} | {size} | {found} |" + " |" * 10)
                faults.append(f"{family}: {kernel}: {found}")
                continue
            spilled_v, spilled_s = get(found, "spilled vgprs"), get(found, "spilled sgprs")
            scratch = get(found, "scratch size", "private memory", "private memory size")
            row = [get(found, "vgprs"), get(found, "sgprs"), spilled_v, spilled_s, get(found, "lds size"), scratch]
            row += [get(found, "subgroups per simd", "max waves"), get(found, "instruction count", "instructions")]
            row += [get(found, "latency"), get(found, "inverse throughput")]
            row.append(f"{found['fused']} of {found['vector']}" if found["fused"] else "-")
            print(f"| {kernel} | {size} | " + " | ".join(map(str, row)) + " |", flush=True)
            if spilled_v or spilled_s:
                faults.append(f"{family}: {kernel} spills {spilled_v} VGPRs, {spilled_s} SGPRs")
            if scratch:
                faults.append(f"{family}: {kernel} keeps {scratch} bytes in scratch memory")
            if found["seconds"] > 5:
                print(f"{family}: {kernel}: compiled in {found['seconds']:.0f} s", file=sys.stderr)
    for fault in faults:
        print(f"gpu_stats: {fault}", file=sys.stderr)
    return not faults


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(not table(sys.argv[2], sys.argv[3:]))
