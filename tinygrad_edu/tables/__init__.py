"""Learning from a table: a CSV file in, a model in a file and a report out; and predictions.

model = TableModel.load("flats.npz")  # which `tinygrad-edu train flats.csv ...` has written
model.predict("new_flats.csv")
"""

from tinygrad_edu.tables.model import TableModel

__all__ = ["TableModel"]
