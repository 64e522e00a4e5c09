import pyarrow as pa

from tests.corpus.random_tables import EDGES, TYPES, make_random_tables


def edges() -> pa.Table:
    """Every extreme value that a column may have, beside an ordinary one and NULL."""
    ordinary = make_ordinary()
    columns = []
    for at, (name, kind) in enumerate(TYPES.items()):
        values = [*EDGES.get(name, ()), None, *ordinary[name]]
        columns.append(pa.array([values[(i * (at + 1) + i // len(values)) % len(values)] for i in range(40)], kind))
    return pa.Table.from_arrays(columns, schema=pa.schema(list(TYPES.items())))


def make_ordinary():
    import random
    from tests.corpus.random_tables import _value
    rng = random.Random(5)
    return {name: [_value(rng, name) for _ in range(3)] for name in TYPES}
