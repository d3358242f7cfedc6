package page

import (
	"embed"
	"fmt"
	"net/http"
	"path"
)

//go:embed assets
var assets embed.FS

// file is one that the page loads.
type file struct {
	media string
	body  []byte
}

// readFiles returns the page's files by name.
func readFiles() (map[string]file, error) {
	media := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	entries, err := assets.ReadDir("assets")
	if err != nil {
		return nil, fmt.Errorf("read the page's files: %w", err)
	}
	files := map[string]file{}
	for _, e := range entries {
		body, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the page's files: %w", err)
		}
		files[e.Name()] = file{media: media[path.Ext(e.Name())], body: body}
	}
	return files, nil
}

// file answers with a file.
func (s *Server) file(name string) http.HandlerFunc {
	f := s.files[name]
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", f.media)
		_, _ = w.Write(f.body) // the browser may be gone
	}
}
