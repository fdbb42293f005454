// Executes PTX: the blocks of a launch one after another, a block's warps each to its end or its next barrier, the lanes of a
// warp together as long as they stand at the same instruction, those that are behind first.
#include "table.h"

#include <random>

// ---- a kernel ------------------------------------------------------------------------------------------------------

struct Program {
    std::vector<Instruction> code;
    std::vector<char> constants;
    u64 register_bytes;
    u32 shared_bytes;  // static; what the launch asks for stands behind it
};

static std::vector<u32> arranged(u32 count, int order, std::mt19937_64& random) {
    std::vector<u32> items(count);
    for (u32 item = 0; item < count; ++item) items[item] = order == 1 ? count - 1 - item : item;
    if (order == 2) std::shuffle(items.begin(), items.end(), random);
    return items;
}

// ---- a warp --------------------------------------------------------------------------------------------------------

static u32 lanes_in(const Warp& w, State state, int pc = -1) {
    u32 found = 0;
    for (u32 left = w.there; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        if (w.state[lane] == state && (pc < 0 || w.pc[lane] == pc)) found |= 1u << lane;
    }
    return found;
}

static void set(Warp& w, u32 lanes, State state, int pc) {
    for (; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        w.state[lane] = state, w.pc[lane] = pc;
    }
}

static u32 guarded(const Warp& w, const Instruction& in) {
    if (in.guard == NOBODY) return w.mask;
    const u8* lets = reinterpret_cast<const u8*>(in.guard >= 0 ? w.registers + in.guard : w.constants + ~in.guard);
    u32 taking = 0;
    for (int lane = 0; lane < LANES; ++lane) taking |= u32(lets[lane] != in.unless) << lane;
    return taking & w.mask;
}

// The lanes that an instruction of many waits for.
static u32 wanted(const Warp& w, const Instruction& in) {
    const u32 ended = lanes_in(w, State::ended);
    if (in.kind == Kind::aligned) {
        if (ended || w.there != ALL) throw Fault{"not all 32 lanes of a warp are there for what only a whole warp can do"};
        return ALL;
    }
    const int lane = __builtin_ctz(w.mask);
    const u32 mask = get<u32>(w, in, in.operands - 1, lane);
    if ((w.mask & mask) != w.mask) refuse(lane, "is not in the mask of what it does with others");
    return mask & w.there & ~ended;
}

// Lets the lanes that wait for each other at `pc` go on, if all are there.
static bool release(Warp& w, const std::vector<Instruction>& code, int pc) {
    const Instruction& in = code[pc];
    w.now = &in;
    w.mask = lanes_in(w, State::at_warp_barrier, pc);
    const u32 all = wanted(w, in);
    if ((w.mask & all) != all) return false;
    w.mask = all;
    in.run(w, in);
    set(w, all, State::running, pc + 1);
    return true;
}

// Goes on with the lanes of `mask` until they branch, wait or come to `stop`, where others stand.
static void execute(Warp& w, const std::vector<Instruction>& code, int pc, int stop) {
    for (;; ++pc) {
        if (pc == stop) return set(w, w.mask, State::running, pc);
        const Instruction& in = code[pc];
        w.now = &in;
        const u32 all = w.mask, taking = guarded(w, in);
        if (in.kind == Kind::plain) {
            w.mask = taking;
            if (taking) in.run(w, in);
            w.mask = all;
            continue;
        }
        if (!taking) continue;
        if (in.kind == Kind::branch && taking == all && stop == NOBODY) {
            pc = int(in.number) - 1;
            continue;
        }
        set(w, all & ~taking, State::running, pc + 1);
        if (in.kind == Kind::branch) return set(w, taking, State::running, int(in.number));
        if (in.kind == Kind::end) return set(w, taking, State::ended, pc);
        if (in.kind == Kind::barrier) return set(w, taking, State::at_block_barrier, pc);
        set(w, taking, State::at_warp_barrier, pc);
        release(w, code, pc);
        return;
    }
}

// Whether lanes that wait for each other could go on, as those that they waited for have ended.
static bool release_any(Warp& w, const std::vector<Instruction>& code) {
    for (u32 left = lanes_in(w, State::at_warp_barrier); left; left &= left - 1) {
        if (release(w, code, w.pc[__builtin_ctz(left)])) return true;
    }
    return false;
}

static void run_lanes(Warp& w, const std::vector<Instruction>& code) {
    do {
        while (const u32 running = lanes_in(w, State::running)) {
            int pc = NOBODY, stop = NOBODY;
            for (u32 left = running; left; left &= left - 1) {
                const int at = w.pc[__builtin_ctz(left)];
                if (at < pc) stop = pc, pc = at;
                else if (at > pc && at < stop) stop = at;
            }
            w.mask = lanes_in(w, State::running, pc);
            execute(w, code, pc, stop);
        }
    } while (release_any(w, code));
}

static void run(Warp& w, const std::vector<Instruction>& code) {
    memory.warp = &w;
    try {
        run_lanes(w, code);
    } catch (Fault& fault) {
        fault.line = w.now->line;
        throw;
    }
}

// ---- a block -------------------------------------------------------------------------------------------------------

static std::string where_threads_are(const std::vector<Warp>& warps, const std::vector<Instruction>& code) {
    std::vector<std::pair<std::string, std::string>> groups;
    for (const Warp& w : warps) {
        for (u32 left = w.there; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            const bool ended = w.state[lane] == State::ended;
            const std::string place = ended ? "ended" : "wait at line " + std::to_string(code[w.pc[lane]].line);
            auto group = std::find_if(groups.begin(), groups.end(), [&](auto& one) { return one.first == place; });
            if (group == groups.end()) group = groups.insert(group, {place, ""});
            if (group->second.size() < 60) group->second += " " + std::to_string(w.number * LANES + lane);
        }
    }
    std::string text;
    for (auto& group : groups) text += (text.empty() ? "threads" : "; threads") + group.second + " " + group.first;
    return text;
}

// Lets all threads go on from a block's barrier. Throws Fault where they are not all at one.
static void pass_barrier(std::vector<Warp>& warps, const std::vector<Instruction>& code) {
    const int pc = warps[0].pc[0];
    for (Warp& w : warps) {
        if (lanes_in(w, State::at_block_barrier, pc) != w.there) {
            throw Fault{"not all threads reach a barrier: " + where_threads_are(warps, code)};
        }
    }
    for (Warp& w : warps) set(w, w.there, State::running, pc + 1);
    if (shadow.watches) begin_phase(memory.block);
}

// The first of a warp's registers is threadIdx.x.
static void begin_block(std::vector<Warp>& warps) {
    memset(memory.shared_start, 0xFF, memory.shared_bytes);
    begin_shadow_block(memory.block, memory.shared_bytes);
    for (Warp& w : warps) {
        w.phase = 0;
        set(w, w.there, State::running, 0);
        for (int lane = 0; lane < LANES; ++lane) {
            w.copies[lane].clear(), w.groups[lane] = 0;
            reinterpret_cast<u32*>(w.registers)[lane] = w.number * LANES + lane;
        }
    }
}

static void run_block(std::vector<Warp>& warps, const Program& program, int order, std::mt19937_64& random) {
    begin_block(warps);
    for (;;) {
        memory.lanes.clear();
        for (u32 lane : arranged(LANES, order, random)) memory.lanes.push_back(lane);
        for (u32 number : arranged(warps.size(), order, random)) run(warps[number], program.code);
        bool all_ended = true;
        for (Warp& w : warps) all_ended &= lanes_in(w, State::ended) == w.there;
        if (all_ended) return;
        pass_barrier(warps, program.code);
    }
}

// ---- what the Python side calls --------------------------------------------------------------------------------------

struct Launch {
    u32 grid, threads, dynamic_bytes;
    int order, noise, watches;
    u64 seed;
    const u64* ranges;
    u64 range_count;
    const u8* parameters;
    u64 parameter_bytes;
    int block_number, block_count, thread_count;  // where the constants for %ctaid.x, %nctaid.x and %ntid.x lie
};

static void set_constant(Program& program, int at, u32 value) {
    for (int lane = 0; lane < LANES; ++lane) reinterpret_cast<u32*>(program.constants.data() + at)[lane] = value;
}

static void begin_launch(const Program& program, const Launch& launch) {
    noise = launch.noise;
    memory.arrays.clear(), memory.last = 0;
    std::vector<u64> sizes;
    for (u64 range = 0; range < launch.range_count; ++range) {
        memory.arrays.push_back({launch.ranges[2 * range], launch.ranges[2 * range + 1]});
        sizes.push_back(memory.arrays.back().after - memory.arrays.back().first);
    }
    memory.parameters.assign(launch.parameters, launch.parameters + launch.parameter_bytes);
    memory.shared_bytes = program.shared_bytes + launch.dynamic_bytes;
    memory.shared.resize(memory.shared_bytes + 256);
    memory.shared_start = memory.shared.data() + (256 - reinterpret_cast<u64>(memory.shared.data()) % 256) % 256;
    memory.threads = launch.threads;
    shadow.watches = launch.watches;
    begin_shadow(launch.grid, sizes);
}

static void run_launch(Program& program, const Launch& launch) {
    begin_launch(program, launch);
    set_constant(program, launch.block_count, launch.grid);
    set_constant(program, launch.thread_count, launch.threads);
    std::vector<Warp> warps((launch.threads + LANES - 1) / LANES);
    std::vector<u64> registers(warps.size() * (program.register_bytes / 8));
    for (size_t number = 0; number < warps.size(); ++number) {
        const u32 left = launch.threads - number * LANES;
        warps[number].there = left < LANES ? (1u << left) - 1 : ALL;
        warps[number].number = int(number);
        warps[number].registers = reinterpret_cast<char*>(registers.data()) + number * program.register_bytes;
        warps[number].constants = program.constants.data();
    }
    std::mt19937_64 random(launch.seed);
    for (u32 block : arranged(launch.grid, launch.order, random)) {
        memory.block = block;
        set_constant(program, launch.block_number, block);
        run_block(warps, program, launch.order, random);
    }
}

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT const char* machine_form(int number) {
    return number < int(sizeof forms / sizeof *forms) ? forms[number].name : nullptr;
}

// Numbers of an instruction: its form, guard, unless, line, number, operands, then place and size of each operand.
EXPORT Program* machine_program(
    const s64* numbers, int count, const char* constants, u64 constant_bytes, u64 register_bytes, u32 shared_bytes) {
    Program* program = new Program{{}, {constants, constants + constant_bytes}, register_bytes, shared_bytes};
    for (int index = 0; index < count; ++index) {
        const Form& form = forms[numbers[0]];
        Instruction in = {form.run, form.kind, int(numbers[1]), numbers[2] != 0, int(numbers[3]), numbers[4],
                          int(numbers[5]), {}, {}};
        numbers += 6;
        for (int operand = 0; operand < in.operands; ++operand, numbers += 2) {
            in.at[operand] = int(numbers[0]), in.size[operand] = u8(numbers[1]);
        }
        program->code.push_back(in);
    }
    return program;
}

// What went wrong, or nothing; `line` is then that of the PTX, 0 where it is of no one line.
EXPORT const char* machine_launch(Program* program, const Launch* launch, int* line) {
    static std::string wrong;
    wrong.clear();
    try {
        run_launch(*program, *launch);
    } catch (const Fault& fault) {
        wrong = "block " + std::to_string(memory.block) + ": " + fault.what;
        *line = fault.line;
    }
    return wrong.c_str();
}
