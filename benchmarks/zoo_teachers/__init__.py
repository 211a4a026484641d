"""Teachers of the kinds that people build, in code and with random weights; see `benchmarks.zoo`."""

from benchmarks.zoo_teachers.applications import APPLICATIONS
from benchmarks.zoo_teachers.entry import Entry
from benchmarks.zoo_teachers.forms import FORMS
from benchmarks.zoo_teachers.networks import NETWORKS
from benchmarks.zoo_teachers.refused import REFUSED
from benchmarks.zoo_teachers.sequences import SEQUENCES

# The slowest last.
TEACHERS: dict[str, Entry] = {
    entry.name: entry for entry in (*REFUSED, *FORMS, *SEQUENCES, *NETWORKS, *APPLICATIONS)
}
