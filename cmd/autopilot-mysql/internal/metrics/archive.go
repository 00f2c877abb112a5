package metrics

// archiveReadings tell how far the archive of binary logs is, as the primary said last.
func archiveReadings() []reading {
	return []reading{
		when("archive_lag_seconds", "Age of the instant before which every commit is in the archive of binary logs; absent when nothing was archived yet.", func(s Sample) (float64, bool) {
			if s.Extra.Archive == nil || s.Extra.Archive.CompleteAt.IsZero() {
				return 0, false
			}
			return s.Now.Sub(s.Extra.Archive.CompleteAt).Seconds(), true
		}),
		when("archive_timestamp_seconds", "When the newest archived transaction was committed; absent without one.", func(s Sample) (float64, bool) {
			if s.Extra.Archive == nil || s.Extra.Archive.At.IsZero() {
				return 0, false
			}
			return float64(s.Extra.Archive.At.UnixMilli()) / 1000, true
		}),
		when("archive_failing", "1 while the archive of binary logs does not go on; absent when nothing was archived yet.", func(s Sample) (float64, bool) {
			return truth(s.Extra.Archive != nil && s.Extra.Archive.Error != ""), s.Extra.Archive != nil
		}),
		when("archive_gap", "1 while transactions are missing in the archive of binary logs for good; absent when nothing was archived yet.", func(s Sample) (float64, bool) {
			return truth(s.Extra.Archive != nil && s.Extra.Archive.Gap != ""), s.Extra.Archive != nil
		}),
		when("archive_at_risk", "1 while what is not archived yet begins in the oldest binary log, which mysqld removes next.", func(s Sample) (float64, bool) {
			return truth(s.Extra.Archive != nil && s.Extra.Archive.AtRisk), s.Extra.Archive != nil
		}),
	}
}
