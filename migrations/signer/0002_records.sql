-- Records of refusals are bounded: past a number, the oldest go. All others are kept (1), as are all from before this column.
ALTER TABLE records ADD COLUMN kept INTEGER NOT NULL DEFAULT 1 CHECK (kept IN (0, 1));
