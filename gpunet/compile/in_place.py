"""Bytes that go from hand to hand: an output where an input was that nobody reads any more."""

from dataclasses import replace

from gpunet.program.program import Program


def in_place(program: Program) -> Program:
    """Let an output take over the bytes of an input whose last reader is the op that writes it.

    Only where the op allows it (`Op.in_place`), both are equally large, neither outlives a step, and the host does not
    read the input afterwards: ReLU over its input, softmax over the scores, gradients over gradients. What lies within
    another has no bytes to give or to get; the other may give its own when nothing in it is read any more.
    """
    last_reader = {t.name: step for step, op in enumerate(program.ops) for t in op.inputs}
    for name, place in program.within.items():  # in the very step, too, the bytes may still be read
        last_reader[place.whole] = max(last_reader.get(place.whole, 0), last_reader.get(name, 0) + 1)
    first_writer: dict[str, int] = {}
    for step, op in enumerate(program.ops):
        for tensor in op.outputs:
            first_writer.setdefault(tensor.name, step)
    kept = {t.name for t in (program.loss, program.correct) if t is not None}  # and, later on, what was given away
    if program.mode == "infer":
        kept.add(program.scores.name)
    takes_over: dict[str, str] = {}
    for step, op in enumerate(program.ops):
        for written, read in op.in_place:
            heir, giver = op.outputs[written], op.inputs[read]
            if heir.name in program.within or giver.name in program.within:
                continue
            loop = program.loop_at(step)
            if loop and not heir.shape[0] == giver.shape[0] == loop.images:
                continue  # the giver is still to be read in later rounds
            free = giver.name not in kept and last_reader[giver.name] == step and not giver.kind.persistent
            fits = heir.nbytes == giver.nbytes and heir.dtype == giver.dtype and first_writer[heir.name] == step
            if free and fits and heir.name not in takes_over:
                takes_over[heir.name] = giver.name
                kept.add(giver.name)
    return replace(program, takes_over={**program.takes_over, **takes_over})
