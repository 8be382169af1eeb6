from viz.objectives.dictionary_units import decoder as decoder
from viz.objectives.objective import Objective as Objective
from viz.objectives.objective import channel as channel
from viz.objectives.objective import direction as direction
from viz.objectives.objective import energy as energy
from viz.objectives.objective import logit as logit
from viz.objectives.objective import point as point
