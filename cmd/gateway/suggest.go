package main

import "slices"

// nearest is the candidate that somebody who wrote `got` most likely meant; "" when none is close. A third of the
// letters may be wrong, at least one and at most three: more, and the guess says more about us than about the writer.
func nearest(got string, candidates []string) string {
	limit := min(max(len(got)/3, 1), 3)
	best, bestDistance := "", limit+1
	for _, c := range candidates {
		if d := editDistance(got, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour to make b out of a.
func editDistance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, above, row := rows[0], rows[1], rows[2]
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

// suggestKey completes the error about an unknown key below a section: a near name there, or the place where the
// same name is known.
func (s *schema) suggestKey(parent, got string) string {
	if near := nearest(got, s.children(parent)); near != "" {
		return ", did you mean \"" + near + "\"?"
	}
	var places []string
	for _, leaf := range s.settings {
		if lastName(leaf.path) == got {
			places = append(places, leaf.path)
		}
	}
	if len(places) == 1 {
		return ", did you mean \"" + places[0] + "\"?"
	}
	return ""
}

// suggestEnv completes the error about an unknown variable.
func (s *schema) suggestEnv(got string) string {
	names := []string{envConfigFile}
	for name := range s.byEnv {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := nearest(got, names); near != "" {
		return ", did you mean " + near + "?"
	}
	return ""
}
