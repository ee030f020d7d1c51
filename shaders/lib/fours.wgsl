// How four neighbouring lanes lie in a buffer: as a vec4f. lib/fours_int64.wgsl may stand in its place.
alias Four = vec4f;

fn floats(four: Four) -> vec4f {
    return four;
}

fn four_of(v: vec4f) -> Four {
    return v;
}
