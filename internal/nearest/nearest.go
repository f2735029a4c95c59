// Package nearest finds the word that somebody most likely meant by another. It must import nothing of ours.
package nearest

import "strings"

// far is how many changes make it another word.
const far = 2

// Of is the known word that takes the fewest changes, in any case of letters; "" if none is near.
func Of(word string, known []string) string {
	word = word[:min(len(word), 64)] // why: a longer one resembles none, and comparing takes its length times theirs
	best, least := "", far+1
	for _, k := range known {
		if d := Distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// Distance is Levenshtein's: the least number of bytes to insert, delete or change.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
