// The table of forms.
#pragma once

#include "forms.h"

#define T1(T) T, T
#define T2(T) T, T, T
#define T3(T) T, T, T, T

// name.TYPE for every type of whole numbers, or of bits, that there are.
#define SIGNED(name, F, shape) \
    {name ".s16", map<F, shape(s16)>}, {name ".s32", map<F, shape(s32)>}, {name ".s64", map<F, shape(s64)>}
#define UNSIGNED(name, F, shape) \
    {name ".u16", map<F, shape(u16)>}, {name ".u32", map<F, shape(u32)>}, {name ".u64", map<F, shape(u64)>}
#define BITS(name, F, shape) \
    {name ".b16", map<F, shape(u16)>}, {name ".b32", map<F, shape(u32)>}, {name ".b64", map<F, shape(u64)>}
#define F32(name, F, shape) {name ".f32", map<F, shape(f32)>}, {name ".ftz.f32", map<Flushed<F>, shape(f32)>}
#define FLOATS(name, F, shape) F32(name, F, shape), {name ".f64", map<F, shape(f64)>}
#define HALVES(name, F, shape) \
    {name ".f16", map<F, shape(f16)>}, {name ".f16x2", map<Halves<f16, F>, shape(Pair<f16>)>}, \
    {name ".bf16", map<F, shape(bf16)>}, {name ".bf16x2", map<Halves<bf16, F>, shape(Pair<bf16>)>}

#define SHIFT(name, F, k, a, b, c) \
    {name "." k "16", map<F, a, a, u32>}, {name "." k "32", map<F, b, b, u32>}, {name "." k "64", map<F, c, c, u32>}

#define COMPARED_WHOLE(name, F)                                                                                        \
    {"setp." name ".s16", compare<F, s16>}, {"setp." name ".s32", compare<F, s32>}, {"setp." name ".s64", compare<F, s64>}, \
    {"setp." name ".u16", compare<F, u16>}, {"setp." name ".u32", compare<F, u32>}, {"setp." name ".u64", compare<F, u64>}
#define COMPARED_BITS(name, F) \
    {"setp." name ".b16", compare<F, u16>}, {"setp." name ".b32", compare<F, u32>}, {"setp." name ".b64", compare<F, u64>}
#define COMPARED(name, F)                                                                               \
    {"setp." name ".f32", compare<F, f32>}, {"setp." name ".ftz.f32", compare<FlushedFirst<F>, f32>}, \
    {"setp." name ".f64", compare<F, f64>}

#define FROM_WHOLE(name, To)                                                                                      \
    {"cvt." name ".u8", convert<Cast<To>, To, u8>}, {"cvt." name ".s8", convert<Cast<To>, To, s8>},           \
    {"cvt." name ".u16", convert<Cast<To>, To, u16>}, {"cvt." name ".s16", convert<Cast<To>, To, s16>},       \
    {"cvt." name ".u32", convert<Cast<To>, To, u32>}, {"cvt." name ".s32", convert<Cast<To>, To, s32>},       \
    {"cvt." name ".u64", convert<Cast<To>, To, u64>}, {"cvt." name ".s64", convert<Cast<To>, To, s64>}
#define WHOLE_FROM(name, To, rounding, R)                                                       \
    {"cvt." rounding "." name ".f32", convert<Whole<To, R>, To, f32>},                          \
    {"cvt." rounding "." name ".f64", convert<Whole<To, R>, To, f64>}
#define ROUNDED(rounding, R)                                                                                       \
    WHOLE_FROM("s32", s32, rounding, R), WHOLE_FROM("u32", u32, rounding, R), WHOLE_FROM("s64", s64, rounding, R), \
    WHOLE_FROM("u64", u64, rounding, R), {"cvt." rounding ".f32.f32", convert<R, f32, f32>},                       \
    {"cvt." rounding ".f64.f64", convert<R, f64, f64>}

#define LOADED(name, space)                                                                            \
    {"ld." name ".b8", load<space, u8>}, {"ld." name ".s8", load<space, s8>},                          \
    {"ld." name ".b16", load<space, u16>}, {"ld." name ".s16", load<space, s16>},                      \
    {"ld." name ".b32", load<space, u32>}, {"ld." name ".s32", load<space, s32>}, {"ld." name ".b64", load<space, u64>}
#define LOADED_CONSTANT(name, T) {"ld.global.nc." name, load<Space::global, T, true>}
#define STORED(name, space)                                                              \
    {"st." name ".b8", store<space, u8>}, {"st." name ".b16", store<space, u16>},        \
    {"st." name ".b32", store<space, u32>}, {"st." name ".b64", store<space, u64>}

#define SHUFFLED(name, mode) {"shfl.sync." name ".b32", shuffle<Shuffle::mode>, Kind::collective}
#define MATRICES(count) \
    {"ldmatrix.x" #count, load_matrices<count, false>, Kind::aligned},                    \
    {"ldmatrix.x" #count ".trans", load_matrices<count, true>, Kind::aligned}
#define PRODUCT(shape, type, T, K) {"mma." shape "." type, multiply_matrices<T, K>, Kind::aligned}

static const Form forms[] = {
    {"bra", nullptr, Kind::branch}, {"ret", nullptr, Kind::end}, {"bar.sync", nullptr, Kind::barrier},

    BITS("add", Add, T2), BITS("sub", Sub, T2), BITS("mul.lo", Mul, T2), BITS("mad.lo", Mad, T3),
    {"mul.wide.u16", map<WideMul<u32>, u32, u16, u16>}, {"mul.wide.s16", map<WideMul<s32>, s32, s16, s16>},
    {"mul.wide.u32", map<WideMul<u64>, u64, u32, u32>}, {"mul.wide.s32", map<WideMul<s64>, s64, s32, s32>},
    {"mad.wide.u32", map<WideMad<u64>, u64, u32, u32, u64>}, {"mad.wide.s32", map<WideMad<s64>, s64, s32, s32, s64>},
    {"mul.hi.u32", map<UpperMul<u64>, T2(u32)>}, {"mul.hi.s32", map<UpperMul<s64>, T2(s32)>},
    {"mul.hi.u64", map<UpperMul<unsigned __int128>, T2(u64)>}, {"mul.hi.s64", map<UpperMul<__int128>, T2(s64)>},
    SIGNED("div", Quotient, T2), UNSIGNED("div", Quotient, T2), SIGNED("rem", Remainder, T2),
    UNSIGNED("rem", Remainder, T2),
    SIGNED("min", Min, T2), UNSIGNED("min", Min, T2), SIGNED("max", Max, T2), UNSIGNED("max", Max, T2),
    SIGNED("neg", Neg, T1), SIGNED("abs", Abs, T1),
    BITS("and", And, T2), BITS("or", Or, T2), BITS("xor", Xor, T2), BITS("not", Not, T1),
    {"and.pred", map<And, T2(u8)>}, {"or.pred", map<Or, T2(u8)>}, {"xor.pred", map<Xor, T2(u8)>},
    {"not.pred", map<NotPredicate, T1(u8)>},
    SHIFT("shl", ShiftLeft, "b", u16, u32, u64), SHIFT("shr", ShiftRight, "u", u16, u32, u64),
    SHIFT("shr", ShiftRight, "s", s16, s32, s64),
    {"bfi.b32", map<Insert, u32, u32, u32, u32, u32>}, {"bfi.b64", map<Insert, u64, u64, u64, u32, u32>},
    {"bfe.u32", map<Extract, T3(u32)>}, {"prmt.b32", map<Permute, T3(u32)>}, {"dp4a.u32.u32", map<Dot4, T3(u32)>},
    {"dp2a.lo.u32.u32", map<Dot2, T3(u32)>}, {"dp2a.hi.u32.u32", map<Dot2High, T3(u32)>},
    {"selp.b16", map<Select, u16, u16, u16, u8>}, {"selp.b32", map<Select, u32, u32, u32, u8>},
    {"selp.b64", map<Select, u64, u64, u64, u8>},

    BITS("mov", Same, T1), {"mov.pred", map<Same, T1(u8)>},
    {"join.b32.b16", join<u32, u16>}, {"join.b64.b32", join<u64, u32>}, {"join.b64.b16", join<u64, u16>},
    {"split.b32.b16", split<u32, u16>}, {"split.b64.b32", split<u64, u32>}, {"split.b64.b16", split<u64, u16>},

    FLOATS("add", Add, T2), FLOATS("sub", Sub, T2), FLOATS("mul", Mul, T2), FLOATS("fma.rn", Fused, T3),
    FLOATS("div.rn", Div, T2),
    FLOATS("rcp.rn", Inverse, T1), FLOATS("sqrt.rn", Root, T1), FLOATS("neg", Negative, T1), FLOATS("abs", Magnitude, T1),
    FLOATS("min", Least, T2), FLOATS("max", Greatest, T2),
    {"copysign.f32", map<CopySign, T2(f32)>}, {"copysign.f64", map<CopySign, T2(f64)>},
    {"fma.rm.f32", map<FusedDown, T3(f32)>}, {"fma.rp.f32", map<FusedUp, T3(f32)>}, {"add.rz.f32", map<AddChopped, T2(f32)>},
    F32("ex2.approx", PowerOfTwo, T1), F32("rcp.approx", RoughInverse, T1), F32("lg2.approx", Logarithm, T1),
    F32("rsqrt.approx", InverseRoot, T1), F32("sqrt.approx", RoughRoot, T1), {"rcp.approx.ftz.f64", map<CoarseInverse, T1(f64)>},

    HALVES("add", AddHalves, T2), HALVES("sub", SubHalves, T2), HALVES("mul", MulHalves, T2),
    HALVES("fma.rn", FusedHalves, T3),
    HALVES("min", LeastHalf, T2), HALVES("max", GreatestHalf, T2), HALVES("neg", NegHalf, T1), HALVES("abs", AbsHalf, T1),

    COMPARED_BITS("eq", Eq), COMPARED_BITS("ne", Ne), COMPARED_WHOLE("lt", Lt), COMPARED_WHOLE("le", Le),
    COMPARED_WHOLE("gt", Gt), COMPARED_WHOLE("ge", Ge),
    COMPARED("eq", Eq), COMPARED("ne", Ne), COMPARED("lt", Lt), COMPARED("le", Le), COMPARED("gt", Gt), COMPARED("ge", Ge),
    COMPARED("equ", Equ), COMPARED("neu", Neu), COMPARED("ltu", Ltu), COMPARED("leu", Leu), COMPARED("gtu", Gtu),
    COMPARED("geu", Geu), COMPARED("num", Num), COMPARED("nan", Nan),

    FROM_WHOLE("u8", u8), FROM_WHOLE("s8", s8), FROM_WHOLE("u16", u16), FROM_WHOLE("s16", s16), FROM_WHOLE("u32", u32),
    FROM_WHOLE("s32", s32), FROM_WHOLE("u64", u64), FROM_WHOLE("s64", s64), FROM_WHOLE("rn.f32", f32), FROM_WHOLE("rn.f64", f64),
    ROUNDED("rni", Round), ROUNDED("rzi", Chop), ROUNDED("rmi", Floor), ROUNDED("rpi", Ceil),
    {"cvt.f64.f32", convert<Cast<f64>, f64, f32>}, {"cvt.rn.f32.f64", convert<Cast<f32>, f32, f64>},
    {"cvt.sat.f32.f32", convert<Saturate, f32, f32>}, {"cvt.rna.tf32.f32", convert<ToTf32, u32, f32>},
    {"cvt.f32.f16", convert<Wide<f16>, f32, u16>}, {"cvt.f32.bf16", convert<Wide<bf16>, f32, u16>},
    {"cvt.rn.f16.f32", convert<Narrow<f16>, u16, f32>}, {"cvt.rn.bf16.f32", convert<Narrow<bf16>, u16, f32>},
    {"cvt.rn.f16x2.f32", map<NarrowBoth<f16>, Pair<f16>, f32, f32>},
    {"cvt.rn.bf16x2.f32", map<NarrowBoth<bf16>, Pair<bf16>, f32, f32>},

    LOADED("global", Space::global), LOADED("shared", Space::shared), LOADED("param", Space::parameters),
    LOADED("generic", Space::generic),
    LOADED_CONSTANT("b8", u8), LOADED_CONSTANT("s8", s8), LOADED_CONSTANT("b16", u16), LOADED_CONSTANT("s16", s16),
    LOADED_CONSTANT("b32", u32), LOADED_CONSTANT("s32", s32), LOADED_CONSTANT("b64", u64),
    STORED("global", Space::global), STORED("shared", Space::shared), STORED("generic", Space::generic),
    {"atom.global.add.u32", atomic_add<u32>}, {"atom.global.add.u64", atomic_add<u64>}, {"membar", fence},

    {"cp.async.ca.shared.global", copy_ahead}, {"cp.async.cg.shared.global", copy_ahead},
    {"cp.async.commit_group", end_group}, {"cp.async.wait_group", wait_for_groups}, {"cp.async.wait_all", wait_for_all},

    {"bar.warp.sync", warp_barrier, Kind::collective}, SHUFFLED("up", up), SHUFFLED("down", down),
    SHUFFLED("bfly", butterfly), SHUFFLED("idx", index), MATRICES(1), MATRICES(2), MATRICES(4),
    PRODUCT("m16n8k4", "tf32", Tf32, 4), PRODUCT("m16n8k8", "tf32", Tf32, 8), PRODUCT("m16n8k8", "f16", Packed<f16>, 8),
    PRODUCT("m16n8k16", "f16", Packed<f16>, 16), PRODUCT("m16n8k8", "bf16", Packed<bf16>, 8),
    PRODUCT("m16n8k16", "bf16", Packed<bf16>, 16),
};
