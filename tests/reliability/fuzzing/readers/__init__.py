"""All readers of files that come from elsewhere."""

from __future__ import annotations

from tests.reliability.fuzzing.readers.cases import CASES
from tests.reliability.fuzzing.readers.plans import PLANS
from tests.reliability.fuzzing.readers.records import RECORDS
from tests.reliability.fuzzing.readers.scans import SCANS
from tests.reliability.fuzzing.readers.tables import TABLES
from tests.reliability.fuzzing.readers.weights import WEIGHTS

READERS = (*WEIGHTS, *PLANS, *TABLES, *CASES, *SCANS, *RECORDS)
