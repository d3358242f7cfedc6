package devices

import (
	"fmt"
	"slices"

	"github.com/bugle-push/bugle/internal/fault"
)

// The limits of a user's preferences.
const (
	// MaxCategories bounds each list, after duplicates are gone.
	MaxCategories = 64
	// MaxCategoryLen bounds a category's name, in bytes.
	MaxCategoryLen = 64
)

// Preferences are what a user wants to hear about. The zero value mutes nothing
// and opts in to nothing. A category that is in both lists is muted.
type Preferences struct {
	// Muted lists categories that the user does not want.
	Muted []string
	// OptedIn lists categories declared opt_in that the user has chosen.
	OptedIn []string
	// Quiet is when the user wants to hear nothing; nil for never. When preferences are set, nil
	// leaves what was set before, so that an app which knows no quiet hours takes none away, and
	// the zero Quiet takes them away.
	Quiet *Quiet
}

// Normalize returns the preferences with both lists sorted, free of duplicates
// and not nil, or an Invalid *fault.Error whose fields name every wrong entry
// ("muted[3]", "quiet.from"). A name that no rule uses is fine: rules come and go.
func (p Preferences) Normalize() (Preferences, error) {
	var fields []fault.Field
	out := Preferences{
		Muted:   normalizeCategories("muted", p.Muted, &fields),
		OptedIn: normalizeCategories("opted_in", p.OptedIn, &fields),
		Quiet:   p.Quiet,
	}
	if p.Quiet != nil {
		p.Quiet.problems(&fields)
	}
	if len(fields) > 0 {
		return Preferences{}, fault.InvalidFields("the preferences are not valid", fields...)
	}
	return out, nil
}

func normalizeCategories(path string, names []string, fields *[]fault.Field) []string {
	out := make([]string, 0, len(names))
	for i, name := range names {
		if !ValidCategory(name) {
			*fields = append(*fields, fault.Field{
				Path:    fmt.Sprintf("%s[%d]", path, i),
				Message: "wants a category: 1 to 64 characters of a-z 0-9 _ -",
			})
			continue
		}
		out = append(out, name)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > MaxCategories {
		*fields = append(*fields, fault.Field{Path: path, Message: fmt.Sprintf("wants at most %d categories", MaxCategories)})
	}
	return out
}

// ValidCategory tells whether name can name a category: 1 to 64 characters of
// [a-z0-9_-].
func ValidCategory(name string) bool {
	return name != "" && len(name) <= MaxCategoryLen && all(name, isCategoryByte)
}

func isCategoryByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
